"""Every token of the query against every token of the passage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.columns import Array, Ragged
from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.stages.rerank.base import BestFirst, at_most, check_depth
from evalkit.stages.rerank.tokens import STEPS, EmbedTokens, TokenVectors
from evalkit.types import Node
from evalkit.values import Rankings


def maxsim(query: Array, passage: Array) -> float:
    """Return the sum, over a query's tokens, of the highest cosine to any token of a passage.

    Parameters
    ----------
    query, passage : int16 arrays of shape (tokens, d)
        As in `TokenVectors`. The result depends on these two alone, to the bit.
    """
    if not len(passage):
        return 0.0
    products = query.astype(np.float32) @ passage.astype(np.float32).T
    return float(products.max(axis=1).sum(dtype=np.float64)) / STEPS**2


@dataclass(frozen=True)
class ScoreTokens:
    """Give the first `k` chunks of every ranking their `maxsim`; they stay in the ranking's order."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True
    entry_wise: ClassVar[bool] = True

    def __call__(self, passages: TokenVectors, queries: TokenVectors, rankings: Rankings) -> Rankings:
        """Score every pair."""
        head = rankings.top(self.k)
        rows = zip(queries.values, head.items, strict=True)
        scores = [maxsim(query, passages.values[int(item)]) for query, items in rows for item in items]
        return Rankings(head.items, Ragged(np.array(scores, dtype=np.float64), head.items.offsets))


@dataclass(frozen=True)
class LateInteraction:
    """Rank by MaxSim over the token vectors of an embedding model.

    The passages' token vectors are made before any query, as ColBERT does; `TokenVectors` says how large they are.
    Special tokens count like any other, as in the paper. The model need not have been trained for this, and a
    projection layer behind its encoder is not used.

    Parameters
    ----------
    model : str
        A sentence-transformers model: a hub name that is on this machine, or a folder. Its identity is the hash of
        its files.
    max_length : int
        Tokens after which a text is cut off, special tokens included.
    k : int or None
        Chunks returned; None returns all that are scored.
    depth : int or None
        Only the first `depth` chunks of the ranking are scored, and the rest is dropped; None scores all.

    References
    ----------
    Khattab and Zaharia, *ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over
    BERT*, SIGIR 2020.
    """

    model: str = models.MINILM
    max_length: int = 256
    k: int | None = 10
    depth: int | None = 50

    def __post_init__(self) -> None:
        check_depth(self, self.k, self.depth)
        if self.max_length < 3:
            raise InputError(f"LateInteraction: max_length is {self.max_length}; it must be at least 3")

    def identity(self) -> dict[str, Any]:
        """Say what the model is, not where it lies."""
        return {"model": models.model_digest(self.model)}

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Embed the tokens of both sides, score, order."""
        embed = EmbedTokens(self.model, self.max_length)
        scored = Node(ScoreTokens(at_most(self.depth)), (Node(embed, (chunks,)), Node(embed, (query,)), ranking))
        return Node(BestFirst(at_most(self.k)), (scored,))
