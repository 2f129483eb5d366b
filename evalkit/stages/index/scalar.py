"""Scalar-quantised vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from evalkit.errors import InputError
from evalkit.stages.index.base import FaissIndex, check_k, one_thread
from evalkit.stages.index.codes import inputs, search_codes
from evalkit.types import Node
from evalkit.values import Rankings, Vectors

_KINDS = {4: "QT_4bit", 6: "QT_6bit", 8: "QT_8bit", 16: "QT_fp16"}


@dataclass(frozen=True)
class ScalarQuantisedBuild:
    """Learn the range of every dimension, and keep each number in a few bits."""

    bits: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)

    def __call__(self, vectors: Vectors) -> FaissIndex:
        """Build over all vectors."""
        import faiss

        values = np.ascontiguousarray(vectors.values)
        kind = getattr(faiss.ScalarQuantizer, _KINDS[self.bits])
        index = faiss.IndexScalarQuantizer(values.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        if len(values):
            with one_thread():
                index.train(values)
                index.add(values)
        return FaissIndex(faiss.serialize_index(index))


@dataclass(frozen=True)
class ScalarQuantisedSearch:
    """Rank all codes, then the best of them by exact cosines."""

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
        return search_codes(index.loaded.search, index.loaded.ntotal, self.rescore, self.k, given)


@dataclass(frozen=True)
class ScalarQuantised:
    """Search among all vectors, each number of them kept in a few bits (FAISS ``IndexScalarQuantizer``).

    Parameters
    ----------
    bits : int
        Of a number: 4, 6 or 8, in equal steps over the range of its dimension, or 16, a short float.
    rescore : int
        So many of the best codes are ranked anew by exact cosines. At 0 the codes' own scores are the result, and
        the vectors themselves are not needed. Where `k` is larger, `k` counts.
    """

    bits: Literal[4, 6, 8, 16] = 8
    rescore: int = 32

    def __post_init__(self) -> None:
        if self.bits not in _KINDS or self.rescore < 0:
            raise InputError(
                f"ScalarQuantised: bits {self.bits} and rescore {self.rescore} do not fit; bits is 4, 6, 8 or 16, "
                "rescore at least 0"
            )

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""
        check_k(k)
        rescore = self.rescore and max(self.rescore, k)
        index = Node(ScalarQuantisedBuild(self.bits), (vectors,))
        return Node(ScalarQuantisedSearch(rescore, k), inputs(index, vectors, query_vectors, rescore))
