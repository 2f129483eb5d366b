"""Retrievers: from a query to a ranking of chunks."""

from evalkit.stages.retrieve.bm25 import BM25
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.retrieve.hybrid import Hybrid

__all__ = ["BM25", "Dense", "Hybrid"]
