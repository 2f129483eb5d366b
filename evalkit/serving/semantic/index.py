"""Nearest vectors among entries that come and go: an index proposes, float64 cosines decide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.similarity import cosine
from evalkit.stages.index.base import one_thread

SMALL = 2_048
"""Up to so many vectors are scanned as they are: quicker than any index, and exact."""
_AT_FIRST = 16
_DEAD = 256


class Near(NamedTuple):
    """An entry near a question.

    Parameters
    ----------
    key : str
    similarity : float
        Cosine, by `evalkit.similarity`.
    """

    key: str
    similarity: float


class VectorIndex(ABC):
    """Unit vectors under keys.

    What is removed leaves a gap; once most rows are gaps, the rest is laid down anew.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._keys: list[str | None] = []
        self._made: list[float] = []
        self._flat: Any = None

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def add(self, key: str, made: float, vector: Array) -> None:
        """Keep a vector under a key, in the place of what was there.

        Parameters
        ----------
        key : str
        made : float
            When its entry was made: of two that are equally near the older one is the nearer.
        vector : float32 array of shape (d,), of length 1
        """
        self.add_all([(key, made, vector)])

    def add_all(self, entries: Iterable[tuple[str, float, Array]]) -> None:
        """Keep many: what `add` takes of each."""
        found = {key: (made, vector) for key, made, vector in entries}
        for key in found:
            self.remove(key)
        if not found:
            return
        for key, (made, _) in found.items():
            self._rows[key] = len(self._keys)
            self._keys.append(key)
            self._made.append(made)
        self._lay_down(np.stack([vector for _, vector in found.values()]).astype(np.float32))

    def remove(self, key: str) -> bool:
        """Drop a key; whether there was one."""
        row = self._rows.pop(key, None)
        if row is None:
            return False
        self._keys[row] = None
        if len(self._keys) - len(self._rows) > max(_DEAD, len(self._rows)):
            self._without_gaps()
        return True

    def nearest(self, vector: Array, k: int = 1) -> list[Near]:
        """Return the `k` nearest entries: similarity descending, then the older one."""
        if not self._rows:
            return []
        query = np.ascontiguousarray(vector, dtype=np.float32)
        width = min(k + _AT_FIRST, len(self._keys))
        while True:
            rough, rows = self._candidates(query[None], width)
            alive = [i for i, row in enumerate(rows.tolist()) if row >= 0 and self._keys[row] is not None]
            if len(alive) > k:  # the others cannot be among the best
                least = rough[alive[k - 1]] - 2 * self._error()
                alive = [i for i in alive if rough[i] >= least]
            scores = cosine(self._vectors(rows[alive]), query) if alive else np.empty(0)
            if width == len(self._keys) or self._enough(scores, rough, k):
                break
            width = min(4 * width, len(self._keys))
        found = zip(rows[alive].tolist(), scores.tolist(), strict=True)
        order = sorted((-score, self._made[row], self._keys[row] or "") for row, score in found)
        return [Near(key, -score) for score, _, key in order[:k]]

    @abstractmethod
    def _candidates(self, query: Array, width: int) -> tuple[Array, Array]:
        """Return rough scores, descending, and rows (-1: none): both of shape (width,)."""

    @abstractmethod
    def _enough(self, scores: Array, rough: Array, k: int) -> bool:
        """Whether wider search can find nothing better, or is not meant to."""

    def _error(self) -> float:
        """By how much a rough score may be off."""
        return float(self._flat.d) * 2.0**-22  # the rounding of float32 sums

    @abstractmethod
    def _extend(self, vectors: Array) -> None:
        """Take rows in behind those that are there."""

    def _vectors(self, rows: Array) -> Array:
        return np.asarray(self._flat.reconstruct_batch(rows))

    def _lay_down(self, vectors: Array) -> None:
        import faiss

        if self._flat is None:
            self._flat = faiss.IndexFlatIP(vectors.shape[1])
        with one_thread():
            self._extend(np.ascontiguousarray(vectors))

    def _without_gaps(self) -> None:
        rows = sorted(self._rows.values())
        kept = self._vectors(np.array(rows, np.int64)) if rows else None
        self._keys, self._made = [self._keys[row] for row in rows], [self._made[row] for row in rows]
        self._rows = {key: row for row, key in enumerate(self._keys) if key is not None}
        self._flat = None
        self._start_anew()
        if kept is not None:
            self._lay_down(kept)

    @abstractmethod
    def _start_anew(self) -> None:
        """Forget what was built over the rows."""


class Exact(VectorIndex):
    """Finds the nearest for certain.

    Above `SMALL` vectors it scans codes of a byte a dimension, a quarter of the memory's traffic. A score of codes
    is off by no more than the largest distance of a vector to its code (Cauchy-Schwarz, the query being of length 1);
    as long as what was not looked at could be better within that, it looks further.
    """

    def __init__(self) -> None:
        super().__init__()
        self._start_anew()

    def _start_anew(self) -> None:
        self._codes: Any = None
        self._coded = 0
        self._off = 0.0

    def _extend(self, vectors: Array) -> None:
        self._flat.add(vectors)
        rows = self._flat.ntotal
        if rows <= SMALL:
            return
        if rows > 2 * self._coded:  # the ranges of the codes are those of all vectors then
            self._code(rows)
        else:
            self._add_codes(vectors)

    def _code(self, rows: int) -> None:
        import faiss

        self._codes = faiss.IndexScalarQuantizer(
            self._flat.d, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        self._off, self._coded = 0.0, rows
        self._codes.train(self._flat.reconstruct_n(0, rows))
        for start in range(0, rows, 8_192):
            self._add_codes(self._flat.reconstruct_n(start, min(8_192, rows - start)))

    def _add_codes(self, vectors: Array) -> None:
        codes = self._codes.sa_encode(vectors)
        away = np.linalg.norm(vectors - self._codes.sa_decode(codes), axis=1)
        self._off = max(self._off, float(away.max()))
        self._codes.add_sa_codes(codes)

    def _candidates(self, query: Array, width: int) -> tuple[Array, Array]:
        rough, rows = (self._flat if self._codes is None else self._codes).search(query, width)
        return rough[0], rows[0]

    def _enough(self, scores: Array, rough: Array, k: int) -> bool:
        return len(scores) >= k and bool(np.sort(scores)[-k] > rough[-1] + self._error())

    def _error(self) -> float:
        return super()._error() + 1.01 * self._off


class Graph(VectorIndex):
    """Finds the nearest, or misses it, along a graph of neighbours (FAISS ``IndexHNSWFlat``).

    Up to `SMALL` vectors it scans. The graph depends on the order in which vectors came, and on nothing else.

    Parameters
    ----------
    m, ef_construction, ef : int
        As in `evalkit.stages.HNSW`.
    """

    def __init__(self, m: int = 16, ef_construction: int = 64, ef: int = 40) -> None:
        super().__init__()
        self._settings = m, ef_construction, ef
        self._start_anew()

    def _start_anew(self) -> None:
        self._graph: Any = None

    def _extend(self, vectors: Array) -> None:
        import faiss

        if self._graph is None and self._flat.ntotal + len(vectors) <= SMALL:
            self._flat.add(vectors)
            return
        if self._graph is None:
            m, ef_construction, _ = self._settings
            self._graph = faiss.IndexHNSWFlat(self._flat.d, m, faiss.METRIC_INNER_PRODUCT)
            self._graph.hnsw.efConstruction = ef_construction
            if self._flat.ntotal:
                self._graph.add(self._flat.reconstruct_n(0, self._flat.ntotal))
            self._flat = faiss.downcast_index(self._graph.storage)
        self._graph.add(vectors)

    def _candidates(self, query: Array, width: int) -> tuple[Array, Array]:
        import faiss

        if self._graph is None:
            rough, rows = self._flat.search(query, width)
            return rough[0], rows[0]
        ef = max(self._settings[2], width)
        rough, rows = self._graph.search(query, ef, params=faiss.SearchParametersHNSW(efSearch=ef))
        return rough[0], rows[0]

    def _enough(self, scores: Array, rough: Array, k: int) -> bool:
        if self._graph is not None or len(scores) < k:
            return len(scores) >= k
        return bool(np.sort(scores)[-k] > rough[-1] + self._error())
