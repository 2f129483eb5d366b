"""Chunkers: from documents to the pieces that are searched."""

from evalkit.stages.chunk.base import Whole
from evalkit.stages.chunk.markdown import Markdown
from evalkit.stages.chunk.semantic import Semantic
from evalkit.stages.chunk.sentences import Sentences
from evalkit.stages.chunk.tokens import FixedTokens, Recursive

__all__ = ["FixedTokens", "Markdown", "Recursive", "Semantic", "Sentences", "Whole"]
