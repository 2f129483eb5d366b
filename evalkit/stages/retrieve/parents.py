"""Search small pieces, return the larger ones that they lie in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.similarity import best_first
from evalkit.stages.chunk import Recursive
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.subset import Positions, Subset, rows_by_document
from evalkit.types import CORPUS, Chunker, Node, Retriever
from evalkit.values import Chunks, Rankings


@dataclass(frozen=True)
class ParentOf:
    """For every small chunk the position of its parent, or -1: the chunk of its document that overlaps it most.

    Of chunks that overlap it as much, the earlier one.
    """

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, small: Chunks, chunks: Chunks) -> Positions:
        """Map document by document."""
        parents, larger = np.full(len(small), -1, dtype=np.int64), rows_by_document(chunks)
        for name, rows in rows_by_document(small).items():
            there = larger.get(name)
            if there is not None:
                starts = np.maximum(small.start[rows][:, None], chunks.start[there])
                overlap = np.minimum(small.end[rows][:, None], chunks.end[there]) - starts
                parents[rows] = np.where(overlap.max(axis=1) > 0, there[overlap.argmax(axis=1)], -1)
        return Positions(parents)


@dataclass(frozen=True)
class WithParent:
    """Positions of the small chunks that have a parent."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "filter"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, parents: Positions) -> Positions:
        """Look at every one."""
        return Positions(np.flatnonzero(parents.values >= 0))


@dataclass(frozen=True)
class ToParents:
    """Rankings of small chunks as rankings of their parents: each once, with its best small chunk's score."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, rankings: Rankings, parents: Positions) -> Rankings:
        """Map every row."""
        rows = [self._row(parents.values[i], s) for i, s in zip(rankings.items, rankings.scores, strict=True)]
        return Rankings.of([items for items, _ in rows], [scores for _, scores in rows])

    def _row(self, parents: Array, scores: Array) -> tuple[Array, Array]:
        found, first = np.unique(parents, return_index=True)  # best first: a parent's first score is its best
        found, first = found[found >= 0], first[found >= 0]
        best = best_first(scores[first], found, self.k)
        return found[best], scores[first][best]


@dataclass(frozen=True)
class Parents:
    """Searches small chunks, which say one thing each, and returns the larger ones around them.

    The pipeline's own chunks are what is returned; a small chunk stands for the chunk of its document that overlaps
    it most, the earlier one of two that do so alike. Also called small-to-large or parent-document retrieval.

    Parameters
    ----------
    retriever : Retriever
        Searches the small chunks; its own ``k`` is how many of them are found, and several may have one parent.
    small : Chunker
        Cuts the corpus for searching. Whether titles are searched is its own affair.
    k : int
        Chunks returned; fewer where the small ones found have fewer parents.
    """

    retriever: Retriever = field(default_factory=lambda: Dense(k=50))
    small: Chunker = field(default_factory=lambda: Recursive(size=32))
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)

    def expand(self, chunks: Node, query: Node) -> Node:
        """Cut small, search, map. Where only a subset is to be searched, so are only its small chunks."""
        small = Node(self.small, (CORPUS,))
        parents = Node(ParentOf(), (small, chunks))
        if isinstance(chunks.op, Subset):
            kept = Node(WithParent(), (parents,))
            small, parents = Node(Subset(), (small, kept)), Node(Subset(), (parents, kept))
        return Node(ToParents(self.k), (self.retriever.expand(small, query), parents))
