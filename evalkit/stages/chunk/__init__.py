"""Chunkers: from documents to the pieces that are searched."""

from evalkit.stages.chunk.base import Whole
from evalkit.stages.chunk.tokens import FixedTokens, Recursive

__all__ = ["FixedTokens", "Recursive", "Whole"]
