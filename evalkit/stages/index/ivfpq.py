"""Product-quantised codes in lists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.errors import InputError
from evalkit.stages.index.base import FaissIndex, check_k, check_least
from evalkit.stages.index.codes import inputs, search_codes
from evalkit.stages.index.lists import build_lists, search_lists
from evalkit.types import Node
from evalkit.values import Rankings, Vectors


@dataclass(frozen=True)
class IVFPQBuild:
    """Learn lists and codes, and put all vectors into them."""

    lists: int | None
    subvectors: int
    bits: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)

    def __call__(self, vectors: Vectors) -> FaissIndex:
        """Build over all vectors."""
        values = np.ascontiguousarray(vectors.values)
        taught = np.resize(values, (max(2, len(values)), values.shape[1]))  # no code has less than one bit
        return build_lists(values, taught, self.lists, lambda coarse, lists: self._make(coarse, lists, len(taught)))

    def _make(self, coarse: Any, lists: int, taught: int) -> Any:
        import faiss

        pieces = max(m for m in range(1, min(self.subvectors, coarse.d) + 1) if coarse.d % m == 0)
        bits = min(self.bits, taught.bit_length() - 1)
        index = faiss.IndexIVFPQ(coarse, coarse.d, lists, pieces, bits, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.min_points_per_centroid = 1
        return index


@dataclass(frozen=True)
class IVFPQSearch:
    """Rank the codes in the nearest lists, then the best of them by exact cosines."""

    probes: int
    rescore: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, index: FaissIndex, *given: Vectors) -> Rankings:
        """Search for every query. The vectors come before the queries where there is rescoring."""
        search = partial(search_lists, index.loaded, self.probes)
        return search_codes(search, index.loaded.ntotal, self.rescore, self.k, given)


@dataclass(frozen=True)
class IVFPQ:
    """Search among product-quantised codes in the lists that are nearest to the query (FAISS ``IndexIVFPQ``).

    A vector is kept as its list and, for each of its pieces, the nearest of a few learnt ones.

    Parameters
    ----------
    lists : int or None
        As in `IVFFlat`.
    probes : int
        Lists searched.
    subvectors : int
        Pieces that a vector is cut into; where its dimensions cannot be cut so, the next smaller number that can.
    bits : int
        Bits of the code of a piece, 1 to 12; fewer where the corpus has less than ``2 ** bits`` vectors.
    rescore : int
        So many of the best codes are ranked anew by exact cosines. At 0 the codes' own scores are the result, and
        the vectors themselves are not needed. Where `k` is larger, `k` counts.

    References
    ----------
    Jégou, Douze and Schmid, *Product Quantization for Nearest Neighbor Search*, IEEE TPAMI 2011.
    """

    lists: int | None = None
    probes: int = 224
    subvectors: int = 96
    bits: int = 8
    rescore: int = 50

    def __post_init__(self) -> None:
        check_least(self, 1, "lists", "probes", "subvectors")
        if not 1 <= self.bits <= 12 or self.rescore < 0:
            raise InputError(
                f"IVFPQ: bits {self.bits} and rescore {self.rescore} do not fit; bits is from 1 to 12, "
                "rescore at least 0"
            )

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""
        check_k(k)
        rescore = self.rescore and max(self.rescore, k)
        index = Node(IVFPQBuild(self.lists, self.subvectors, self.bits), (vectors,))
        return Node(IVFPQSearch(self.probes, rescore, k), inputs(index, vectors, query_vectors, rescore))
