"""Dropping what says the same again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.similarity import cosine
from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.embed.base import embedded
from evalkit.types import Embedder, FittedEmbedder, Node
from evalkit.values import Rankings, Vectors


@dataclass(frozen=True)
class DropRedundant:
    """Go down every ranking and keep a chunk unless its cosine to one already kept is above `threshold`."""

    threshold: float

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, vectors: Vectors, rankings: Rankings) -> Rankings:
        """Filter every row; order and scores stay."""
        kept = [self._kept(vectors.values[items]) for items in rankings.items]
        return Rankings.of(
            [items[rows] for items, rows in zip(rankings.items, kept, strict=True)],
            [scores[rows] for scores, rows in zip(rankings.scores, kept, strict=True)],
        )

    def _kept(self, vectors: Array) -> Array:
        kept: list[int] = []
        for i, vector in enumerate(vectors):
            before = vectors[kept]
            twin = (before == vector).all(axis=1).any()
            if not twin and not (cosine(before, vector) > self.threshold).any():
                kept.append(i)
        return np.array(kept, dtype=np.int64)


@dataclass(frozen=True)
class RedundancyFilter:
    """Drop every chunk that repeats a better placed one; the others keep their order and scores.

    Parameters
    ----------
    embedder : Embedder or FittedEmbedder
    threshold : float
        A chunk is dropped if its cosine to one already kept is above this. Chunks with equal vectors always repeat
        one another, so at 1 exact twins alone are dropped.
    """

    embedder: Embedder | FittedEmbedder = field(default_factory=SentenceTransformer)
    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise InputError(f"RedundancyFilter: threshold is {self.threshold}; a cosine is from -1 to 1")

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Embed the chunks, filter."""
        vectors = embedded(self.embedder, chunks, chunks)
        return Node(DropRedundant(float(self.threshold)), (vectors, ranking))
