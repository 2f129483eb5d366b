"""Relevance and novelty together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.similarity import best_first, cosine
from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.embed.base import embedded
from evalkit.stages.rerank.base import at_most, check_depth
from evalkit.types import Embedder, FittedEmbedder, Node
from evalkit.values import Rankings, Vectors


@dataclass(frozen=True)
class SelectMMR:
    """Choose `k` chunks of the first `depth`, one by one, each the best given those chosen before it.

    Its value is ``balance * cosine(chunk, query) - (1 - balance) * the highest cosine(chunk, chosen)``. That maximum
    is -1 while nothing is chosen, so values never rise from one choice to the next.
    """

    balance: float
    depth: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, vectors: Vectors, queries: Vectors, rankings: Rankings) -> Rankings:
        """Choose for every query."""
        rows = zip(rankings.top(self.depth).items, queries.values, strict=True)
        chosen = [self._choose(items, vectors.values[items], query) for items, query in rows]
        return Rankings.of([items for items, _ in chosen], [values for _, values in chosen])

    def _choose(self, items: Array, vectors: Array, query: Array) -> tuple[Array, Array]:
        relevance = self.balance * cosine(vectors, query)
        nearest = np.full(len(items), -1.0)
        chosen: list[int] = []
        reached: list[float] = []
        for _ in range(min(self.k, len(items))):
            values = relevance - (1 - self.balance) * nearest
            values[chosen] = -np.inf
            best = int(best_first(values, items, 1)[0])
            chosen.append(best)
            reached.append(float(values[best]))
            nearest = np.maximum(nearest, cosine(vectors, vectors[best]))
        return items[chosen], np.array(reached)


@dataclass(frozen=True)
class MMR:
    """Maximal marginal relevance: chunks that fit the query and do not repeat one another.

    A chunk's score in the ranking is its marginal relevance at the moment it was chosen.

    Parameters
    ----------
    embedder : Embedder or FittedEmbedder
        Relevance and likeness are both the cosine of its vectors, whatever retriever the ranking is from: scores of
        BM25 or of a fusion are of another scale.
    balance : float
        Lambda in the paper, above 0 and at most 1: the weight of relevance; that of likeness is ``1 - balance``. At 1
        the order is that of relevance.
    k : int or None
        Chunks chosen; None orders all.
    depth : int or None
        Chosen among the first `depth` chunks of the ranking; None takes all.

    References
    ----------
    Carbonell and Goldstein, *The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries*, SIGIR 1998.
    """

    embedder: Embedder | FittedEmbedder = field(default_factory=SentenceTransformer)
    balance: float = 0.7
    k: int | None = 10
    depth: int | None = 50

    def __post_init__(self) -> None:
        check_depth(self, self.k, self.depth)
        if not 0 < self.balance <= 1:
            raise InputError(f"MMR: balance is {self.balance}; it must be above 0 and at most 1")

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Embed both sides, choose."""
        both = embedded(self.embedder, chunks, chunks), embedded(self.embedder, chunks, query)
        return Node(SelectMMR(float(self.balance), at_most(self.depth), at_most(self.k)), (*both, ranking))
