"""Exact search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from evalkit.stages.index.base import FaissIndex, check_k
from evalkit.stages.index.nearest import cosines, nearest, rankings
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
        score = partial(cosines, vectors.values)
        return rankings(*nearest(index.loaded.search, score, queries.values, self.k, limit=len(vectors)))


@dataclass(frozen=True)
class Flat:
    """Exact search over all vectors (FAISS ``IndexFlatIP``).

    References
    ----------
    Johnson, Douze and Jégou, *Billion-scale similarity search with GPUs*, 2017.
    """

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""
        check_k(k)
        return Node(FlatSearch(k), (Node(FlatBuild(), (vectors,)), vectors, query_vectors))
