"""The stages of a pipeline. Everything in ``__all__`` can be named in a spec."""

from evalkit.stages.assemble import TopK
from evalkit.stages.chunk import FixedTokens, Recursive, Whole
from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.index import Flat
from evalkit.stages.retrieve import BM25, Dense, Hybrid

__all__ = [
    "BM25",
    "Dense",
    "FixedTokens",
    "Flat",
    "Hybrid",
    "Recursive",
    "SentenceTransformer",
    "TopK",
    "Whole",
]
