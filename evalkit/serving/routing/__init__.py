"""Rules of routers and cascades. Everything in ``__all__`` can be named in a spec."""

from evalkit.serving.routing.classifier import Classifier, Example, ExampleFile
from evalkit.serving.routing.routes import Direct, Route
from evalkit.serving.routing.rules import ByTenant, ByUser, Group, When, WordRules

__all__ = [
    "ByTenant", "ByUser", "Classifier", "Direct", "Example", "ExampleFile", "Group", "Route", "When",
    "WordRules",
]  # fmt: skip
