"""Data sets: documents, questions, judgements and reference answers, checked where they enter."""

from evalkit.datasets.dataset import Dataset, Reference
from evalkit.datasets.load import load_dataset

__all__ = ["Dataset", "Reference", "load_dataset"]
