"""Assemblers: from a ranking to the prompt."""

from evalkit.stages.assemble.budget import Budget
from evalkit.stages.assemble.history import History
from evalkit.stages.assemble.key_sentences import KeySentences
from evalkit.stages.assemble.selection import Diversity, Relevance
from evalkit.stages.assemble.topk import TopK
from evalkit.stages.counting import Characters, EstimatedTokens, Tokens

__all__ = [
    "Budget", "Characters", "Diversity", "EstimatedTokens", "History", "KeySentences", "Relevance", "Tokens", "TopK",
]  # fmt: skip
