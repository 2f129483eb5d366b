"""Relevance judgements, compiled once and used for any number of rankings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import MetricError
from evalkit.metrics.files import read_judgements
from evalkit.metrics.hashing import RowTable
from evalkit.metrics.ids import Id, Integers, check_size, flat_ids, floats, names
from evalkit.metrics.ragged import padded, repeated_rows

__all__ = ["Qrels"]

UNJUDGED = -np.inf  # below every minimum relevance, and no gain


class Qrels:
    """Graded judgements: for each query, documents and how relevant they are.

    A grade above zero is relevant; zero and negative grades are judged not relevant. A query without
    judgements is not kept: `evaluate` reports it when a run holds it.

    Parameters
    ----------
    queries : Iterable of str or int
        Distinct query ids.
    documents : Iterable of str, or int array, shape (total,)
        Judged documents, query after query.
    offsets : int array, shape (queries + 1,)
        Documents ``offsets[i]:offsets[i + 1]`` belong to query i.
    grades : Iterable of float, shape (total,)
        One finite grade for each document.

    Raises
    ------
    MetricError
        If there is no judgement at all, ids are of mixed types, a grade is not finite, or a document is
        judged twice for one query.
    """

    def __init__(
        self, queries: Iterable[Id], documents: Iterable[Any], offsets: Iterable[int], grades: Iterable[Any]
    ) -> None:
        query_ids = names(queries, "query")
        bounds = np.asarray(offsets, dtype=np.int64)
        flat = flat_ids(documents, "document")
        values = floats(grades, len(flat), "grade")
        judged = np.flatnonzero(np.diff(bounds) > 0)
        if not judged.size:
            raise MetricError("the judgements are empty; give at least one judged document for one query")
        self.queries: tuple[Id, ...] = tuple(query_ids[i] for i in judged)
        self.offsets: Integers = np.append(bounds[judged], bounds[-1])
        self.documents: Integers | list[str] = flat
        self.grades: NDArray[np.float64] = values
        self.index: dict[Id, int] = {query: i for i, query in enumerate(self.queries)}
        if len(self.index) != len(self.queries):
            raise MetricError("a query occurs twice in the judgements; merge its documents")
        rows = np.repeat(np.arange(len(self.queries)), np.diff(self.offsets))
        order = np.lexsort((-values, rows))
        self._best = values[order]
        self._encoded: tuple[tuple[str, ...], Qrels] | None = None
        self._compile()

    def _compile(self) -> None:
        """Prepare look-ups: a hash table for numbered documents, a dict per query for named ones."""
        if isinstance(self.documents, np.ndarray):
            check_size(self.documents, len(self.queries))
            if (repeated := repeated_rows(self.documents, self.offsets)).size:
                query = self.queries[repeated[0]]
                raise MetricError(f"a document is judged twice for query {query!r}; keep one judgement")
            self._table = RowTable(self.offsets, self.documents, self.grades)
            return
        grades, bounds = self.grades.tolist(), self.offsets.tolist()
        self._by_query = [dict(zip(self.documents[a:b], grades[a:b], strict=True)) for a, b in pairwise(bounds)]
        sizes = np.fromiter(map(len, self._by_query), dtype=np.int64)
        if (repeated := np.flatnonzero(sizes != np.diff(self.offsets))).size:
            query = self.queries[repeated[0]]
            raise MetricError(f"a document is judged twice for query {query!r}; keep one judgement")

    @property
    def numbered(self) -> bool:
        """Whether documents are whole numbers."""
        return isinstance(self.documents, np.ndarray)

    def __len__(self) -> int:
        return len(self.queries)

    @classmethod
    def of(cls, source: Any) -> Qrels:
        """Return judgements from whatever holds them.

        Parameters
        ----------
        source : Qrels, Mapping, DataFrame, str or PathLike
            ``{query: {document: grade}}``; a frame with columns query, document and grade (or relevance);
            the path of a TREC qrels file or of a BEIR tsv file.

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
            return cls.from_dict(read_judgements(source))
        form = type(source).__name__
        raise MetricError(f"judgements cannot be read from {form}; give a dict, data frame, path or Qrels")

    @classmethod
    def from_dict(cls, judgements: Mapping[Any, Mapping[Any, float]]) -> Qrels:
        """Compile ``{query: {document: grade}}``."""
        for query, documents in judgements.items():
            if not isinstance(documents, Mapping):
                raise MetricError(f"judgements of query {query!r}: give {{document: grade}}")
        offsets = np.cumsum([0, *map(len, judgements.values())])
        flat = list(chain.from_iterable(judgements.values()))
        grades = chain.from_iterable(graded.values() for graded in judgements.values())
        return cls(judgements, flat, offsets, grades)

    @classmethod
    def from_frame(cls, frame: Any, query: str = "query", document: str = "document", grade: str = "") -> Qrels:
        """Compile a data frame with one row for each judgement; the grade column may be named relevance."""
        from evalkit.metrics.frames import grouped

        grade = grade or ("grade" if "grade" in frame.columns else "relevance")
        return cls(*grouped(frame, query, document, grade))

    def encode(self, vocabulary: Sequence[str]) -> Qrels:
        """Return the judgements with documents numbered by their place in `vocabulary`.

        Judged documents outside the vocabulary keep their place in the ideal ranking.

        Parameters
        ----------
        vocabulary : Sequence of str
            Document ids; number i stands for ``vocabulary[i]``. The last tuple used is remembered.

        Raises
        ------
        MetricError
            If the judgements already use numbers, or a name occurs twice.
        """
        if self._encoded is not None and self._encoded[0] is vocabulary:
            return self._encoded[1]
        if isinstance(self.documents, np.ndarray):
            raise MetricError("judgements name documents by number; a vocabulary needs names")
        places = {name: i for i, name in enumerate(vocabulary)}
        if len(places) != len(vocabulary):
            raise MetricError("the vocabulary holds a document twice; make its names distinct")
        for name in self.documents:
            places.setdefault(name, len(places))
        numbers = np.fromiter(map(places.__getitem__, self.documents), dtype=np.int64)
        encoded = Qrels(self.queries, numbers, self.offsets, self.grades)
        if isinstance(vocabulary, tuple):
            self._encoded = (vocabulary, encoded)
        return encoded

    def grade_numbers(self, rows: Integers, documents: Integers) -> NDArray[np.float64]:
        """Return the grades of numbered documents, minus infinity when unjudged.

        Parameters
        ----------
        rows : NDArray[int64], shape (m,)
            Rows of queries.
        documents : NDArray[int64], shape (m, depth)
            Documents for each.
        """
        return self._table.get(rows, documents, UNJUDGED)

    def grade_names(self, row: int, documents: Iterable[str]) -> Iterable[float]:
        """Return the grades of named documents for one query, minus infinity when unjudged."""
        return map(self._by_query[row].get, documents, repeat(UNJUDGED))

    def ideal(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the grades of queries ``start:stop``, best first. Shape (most judged, stop - start)."""
        best = self._best[self.offsets[start] : self.offsets[stop]]
        return np.ascontiguousarray(padded(best, np.diff(self.offsets[start : stop + 1]), UNJUDGED).T)
