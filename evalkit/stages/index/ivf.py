"""Search in the few lists that are nearest to a query."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.errors import InputError
from evalkit.stages.index.base import FaissIndex, check_k, check_least
from evalkit.stages.index.lists import build_lists, search_lists
from evalkit.stages.index.nearest import cosines, nearest, rankings
from evalkit.types import Node
from evalkit.values import Rankings, Vectors


@dataclass(frozen=True)
class IVFFlatBuild:
    """Learn the lists from the first vectors, and put all vectors into them."""

    lists: int | None
    trained_on: float

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)

    def __call__(self, vectors: Vectors) -> FaissIndex:
        """Build over all vectors."""
        values = np.ascontiguousarray(vectors.values)
        taught = values[: math.ceil(self.trained_on * len(values))]
        return build_lists(values, taught, self.lists, self._make)

    @staticmethod
    def _make(coarse: Any, lists: int) -> Any:
        import faiss

        return faiss.IndexIVFFlat(coarse, coarse.d, lists, faiss.METRIC_INNER_PRODUCT)


@dataclass(frozen=True)
class IVFFlatSearch:
    """Return the true top k of the vectors in the nearest lists."""

    probes: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, index: FaissIndex, vectors: Vectors, queries: Vectors) -> Rankings:
        """Search for every query."""
        search = partial(search_lists, index.loaded, self.probes)
        score = partial(cosines, vectors.values)
        return rankings(*nearest(search, score, queries.values, self.k, limit=len(vectors)))


@dataclass(frozen=True)
class IVFFlat:
    """Search in the lists whose centroids are nearest to the query (FAISS ``IndexIVFFlat``).

    Within these lists the result is the true top `k`; it is shorter where they hold fewer vectors. A corpus that has
    grown is a new build; `trained_on` tells what it costs to keep the old lists.

    Parameters
    ----------
    lists : int or None
        Lists learnt by k-means; None is four times the square root of the number of vectors learnt from. There are
        fewer where there are fewer vectors, or where a list would stay empty.
    probes : int
        Lists searched: more find more, and take longer.
    trained_on : float
        Share of the vectors, from the front, that the lists are learnt from; the others are only put into them, as
        they are when a corpus grows after its index was built.

    References
    ----------
    Sivic and Zisserman, *Video Google*, ICCV 2003. Jégou, Douze and Schmid, *Product Quantization for Nearest
    Neighbor Search*, IEEE TPAMI 2011.
    """

    lists: int | None = None
    probes: int = 224
    trained_on: float = 1.0

    def __post_init__(self) -> None:
        check_least(self, 1, "lists", "probes")
        if not 0 < self.trained_on <= 1:
            raise InputError(f"IVFFlat: trained_on is {self.trained_on}; it must be above 0 and at most 1")

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""
        check_k(k)
        index = Node(IVFFlatBuild(self.lists, float(self.trained_on)), (vectors,))
        return Node(IVFFlatSearch(self.probes, k), (index, vectors, query_vectors))
