"""Rankings: what a system returned for each query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import MetricError
from evalkit.metrics.files import read_run
from evalkit.metrics.ids import Id, Integers, first_repeat, flat_ids, floats, names
from evalkit.metrics.ragged import repeated_rows

__all__ = ["Rankings"]


class Rankings:
    """Ragged rankings of documents, one for each query.

    Parameters
    ----------
    queries : Iterable of str or int
        Distinct query ids.
    documents : Iterable of str, or int array, shape (total,)
        Returned documents, query after query.
    offsets : int array, shape (queries + 1,)
        Documents ``offsets[i]:offsets[i + 1]`` belong to query i.
    scores : Iterable of float, shape (total,), optional
        Higher is better. Without scores the documents are already in order, the best first.
    vocabulary : Sequence of str, optional
        What numbered documents are called: number i is ``vocabulary[i]``. Ties are then broken by name. Pass
        the same tuple with every run, and judgements are translated only once.

    Raises
    ------
    MetricError
        If ids are of mixed types, a score is NaN or infinite, a query or a query's document repeats, or
        lengths disagree.
    """

    def __init__(
        self,
        queries: Iterable[Id],
        documents: Iterable[Any],
        offsets: Iterable[int],
        scores: Iterable[Any] | None = None,
        vocabulary: Sequence[str] | None = None,
    ) -> None:
        self.queries: tuple[Id, ...] = tuple(names(queries, "query"))
        self.documents: Integers | list[str] = flat_ids(documents, "document")
        self.offsets: Integers = np.asarray(offsets, dtype=np.int64)
        self.scores: NDArray[np.float64] | None = None
        self.vocabulary = vocabulary if vocabulary is None else tuple(vocabulary)
        self.index: dict[Id, int] = {query: i for i, query in enumerate(self.queries)}
        self._check_shape()
        if scores is not None:
            self.scores = floats(scores, len(self.documents), "score")
        self._check_repeats()

    def _check_shape(self) -> None:
        total, bounds = len(self.documents), self.offsets
        if len(self.index) != len(self.queries):
            raise MetricError(f"query {first_repeat(self.queries)!r} occurs twice in the run; merge its results")
        if bounds.shape != (len(self.queries) + 1,):
            raise MetricError(f"{bounds.size} offsets for {len(self.queries)} queries; give one more than queries")
        if bounds[0] != 0 or bounds[-1] != total or (np.diff(bounds) < 0).any():
            raise MetricError(f"offsets must rise from 0 to the number of documents, {total}")
        if self.vocabulary is not None:
            if not isinstance(self.documents, np.ndarray):
                raise MetricError("a vocabulary goes with documents given by number, these have names")
            if total and self.documents.max() >= len(self.vocabulary):
                raise MetricError(f"document {self.documents.max()} is outside the vocabulary; extend it")

    def _check_repeats(self) -> None:
        if isinstance(self.documents, np.ndarray):
            for row in repeated_rows(self.documents, self.offsets).tolist():
                self._refuse_repeat(row, self.documents[self.offsets[row] : self.offsets[row + 1]].tolist())
            return
        for row, (a, b) in enumerate(pairwise(self.offsets.tolist())):
            if len(set(self.documents[a:b])) != b - a:
                self._refuse_repeat(row, self.documents[a:b])

    def _refuse_repeat(self, row: int, documents: Sequence[Any]) -> None:
        repeat = first_repeat(documents)
        raise MetricError(
            f"document {repeat!r} occurs twice for query {self.queries[row]!r}; keep its first occurrence"
        )

    @property
    def numbered(self) -> bool:
        """Whether documents are whole numbers."""
        return isinstance(self.documents, np.ndarray)

    @property
    def lengths(self) -> Integers:
        """Results for each query. Shape (queries,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.queries)

    @classmethod
    def of(cls, source: Any) -> Rankings:
        """Return rankings from whatever holds them.

        Parameters
        ----------
        source : Rankings, Mapping, DataFrame, str or PathLike
            ``{query: {document: score}}`` or ``{query: [documents in order]}``; a frame with columns query,
            document and, unless its rows are in order, score; the path of a TREC run file.

        Raises
        ------
        MetricError
            As the constructor, and if the form is none of these.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, Mapping):
            return cls.from_dict(source)
        if hasattr(source, "columns"):
            return cls.from_frame(source)
        if isinstance(source, str) or hasattr(source, "__fspath__"):
            return cls.from_dict(read_run(source))
        form = type(source).__name__
        raise MetricError(f"a run cannot be read from {form}; give a dict, a data frame, a path or Rankings")

    @classmethod
    def from_arrays(
        cls,
        queries: Iterable[Id],
        documents: Any,
        offsets: Iterable[int] | None = None,
        scores: Any = None,
        vocabulary: Sequence[str] | None = None,
    ) -> Rankings:
        """Take flat arrays with offsets, or matrices of shape (queries, k) as a vector index returns them.

        In a matrix, a negative document number stands for "no result", as FAISS pads.
        """
        if offsets is not None:
            return cls(queries, documents, offsets, scores, vocabulary)
        matrix = np.asarray(documents)
        if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.integer):
            raise MetricError("documents without offsets must be an integer matrix of shape (queries, k)")
        found = matrix >= 0
        if scores is not None:
            scores = np.asarray(scores)
            if scores.shape != matrix.shape:
                raise MetricError(f"scores of shape {scores.shape} for documents of shape {matrix.shape}")
            scores = scores[found]
        return cls(queries, matrix[found], np.append(0, np.cumsum(found.sum(axis=1))), scores, vocabulary)

    @classmethod
    def from_dict(cls, run: Mapping[Any, Mapping[Any, float] | Sequence[Any]]) -> Rankings:
        """Take ``{query: {document: score}}`` or ``{query: [documents in order]}``."""
        scored = {isinstance(documents, Mapping) for documents in run.values()}
        if len(scored) > 1 or any(isinstance(documents, str) for documents in run.values()):
            raise MetricError("give every query a dict of scores, or every query a list of documents")
        offsets = np.cumsum([0, *map(len, run.values())])
        documents = list(chain.from_iterable(run.values()))
        if scored != {True}:
            return cls(run, documents, offsets)
        scores = chain.from_iterable(ranked.values() for ranked in run.values())  # type: ignore[union-attr]
        return cls(run, documents, offsets, scores)

    @classmethod
    def from_frame(
        cls, frame: Any, query: str = "query", document: str = "document", score: str = "score"
    ) -> Rankings:
        """Take a data frame with one row for each result; without a score column its rows are in order."""
        from evalkit.metrics.frames import grouped

        return cls(*grouped(frame, query, document, score if score in frame.columns else None))
