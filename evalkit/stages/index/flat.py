"""Exact search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.similarity import best_first, cosine
from evalkit.stages.index.base import FaissIndex
from evalkit.types import Node
from evalkit.values import Rankings, Vectors


@dataclass(frozen=True)
class FlatBuild:
    """Put vectors into a FAISS ``IndexFlatIP``."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)

    def __call__(self, vectors: Vectors) -> FaissIndex:
        """Build the index over all vectors."""
        import faiss

        index = faiss.IndexFlatIP(vectors.values.shape[1])
        index.add(np.ascontiguousarray(vectors.values))
        return FaissIndex(faiss.serialize_index(index))


@dataclass(frozen=True)
class FlatSearch:
    """Exact cosine search: FAISS proposes in float32, the one similarity in float64 decides.

    The result is the true top k, ties by position, whatever batch a query came in: more candidates are taken until
    none outside them can belong to the top k, given float32's rounding error.
    """

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, index: FaissIndex, vectors: Vectors, queries: Vectors) -> Rankings:
        """Search for every query."""
        corpus, size = vectors.values, len(vectors)
        rounding = corpus.shape[1] * float(np.finfo(np.float32).eps)
        items: list[Array] = [np.zeros(0, np.int32)] * len(queries)
        scores: list[Array] = [np.zeros(0)] * len(queries)
        open_rows, depth = np.arange(len(queries)), min(size, self.k + 16)
        while len(open_rows) and size:
            proposed, found = index.loaded.search(np.ascontiguousarray(queries.values[open_rows]), depth)
            unsettled = []
            for row, floor, candidates in zip(open_rows, proposed[:, -1], found, strict=True):
                exact = cosine(corpus[candidates], queries.values[row])
                best = best_first(exact, candidates, self.k)
                items[row], scores[row] = candidates[best].astype(np.int32), exact[best]
                if depth < size and exact[best[-1]] <= floor + rounding:
                    unsettled.append(row)
            open_rows, depth = np.array(unsettled, dtype=np.int64), min(size, depth * 4)
        return Rankings.of(items, scores)


@dataclass(frozen=True)
class Flat:
    """Exact search over all vectors (FAISS ``IndexFlatIP``).

    References
    ----------
    Johnson, Douze and Jégou, *Billion-scale similarity search with GPUs*, 2017.
    """

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""
        if k < 1:
            raise InputError(f"k is {k}; it must be at least 1")
        return Node(FlatSearch(k), (Node(FlatBuild(), (vectors,)), vectors, query_vectors))
