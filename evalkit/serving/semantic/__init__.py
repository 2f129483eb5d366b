"""Semantic caching: near vectors among entries that come and go, and rules for when a near entry may be given.

Everything in ``__all__`` can be named in a spec.
"""

from evalkit.serving.semantic.decisions import Threshold, Verified

__all__ = ["Threshold", "Verified"]
