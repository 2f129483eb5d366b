"""Data sets: documents, questions, judgements, answers, traffic: checked where they enter."""

from evalkit.datasets.arrivals import follow, intent_traffic, poisson
from evalkit.datasets.dataset import Dataset, Reference
from evalkit.datasets.generate import Day, generate_traffic
from evalkit.datasets.intents import Conversation, Intent, Trap, Turn
from evalkit.datasets.load import load_dataset
from evalkit.datasets.rows import Span
from evalkit.datasets.traffic import Ingestion, Traffic

__all__ = [
    "Conversation", "Dataset", "Day", "Ingestion", "Intent", "Reference", "Span", "Traffic", "Trap", "Turn",
    "follow", "generate_traffic", "intent_traffic", "load_dataset", "poisson",
]  # fmt: skip
