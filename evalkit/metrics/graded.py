"""Graded rankings, and what the metrics of them have in common.

Ranks run along the first axis and queries along the second, so that sums run rank by rank: the value of a
query is the same to the bit whatever other queries stand beside it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import Definition, Metric, Need
from evalkit.metrics.checks import check_between, check_cutoff

__all__ = ["Graded", "RankingMetric"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Graded:
    """A block of rankings with their grades.

    Parameters
    ----------
    grades : NDArray[float64], shape (depth, queries)
        Grade of the document at each rank; minus infinity when it is unjudged or there is none.
    lengths : NDArray[int64], shape (queries,)
        Documents returned for each query.
    ideal : NDArray[float64], shape (most judged, queries)
        Grades of all judged documents, best first, then minus infinity.
    """

    grades: Floats
    lengths: NDArray[np.int64]
    ideal: Floats
    _known: dict[tuple[str, float], Floats] = field(default_factory=dict, repr=False)

    def hits(self, min_relevance: float) -> Floats:
        """Return 1 at each rank that holds a relevant document, else 0. Shape (depth, queries); read only."""
        return self._once("hits", min_relevance, lambda: (self.grades >= min_relevance).astype(np.float64))

    def relevant(self, min_relevance: float) -> Floats:
        """Return the number of relevant documents of each query. Shape (queries,); read only."""
        count = (self.ideal >= min_relevance).sum
        return self._once("relevant", min_relevance, lambda: count(axis=0).astype(np.float64))

    def precisions(self, min_relevance: float) -> Floats:
        """Return precision at each rank that holds a relevant document, else 0. Read only."""
        return self._once("precisions", min_relevance, lambda: _precisions(self.hits(min_relevance)))

    def _once(self, what: str, min_relevance: float, compute: Callable[[], Floats]) -> Floats:
        """Return what several metrics ask for, computed for the first of them."""
        key = (what, min_relevance)
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


def define(formula: str, source: str, denominator: str, note: str = "", empty: str = "") -> Definition:
    """Return a definition with what all ranking metrics have in common."""
    return Definition(
        formula=formula,
        source=source,
        denominator=denominator,
        ties="score descending, then document id ascending",
        unjudged="not relevant, but they take up ranks",
        empty=empty or "0 without results, and 0 without a relevant document: nothing could be found (as trec_eval)",
        missing="judged queries absent from the run score 0 and stay in the mean; "
        "queries without judgement are named and left out",
        note=note,
    )


@dataclass(frozen=True)
class RankingMetric(Metric):
    """A metric of rankings against judgements."""

    needs: ClassVar[Need] = "ranking"

    @abstractmethod
    def per_query(self, graded: Graded) -> Floats:
        """Return one value for each query. Shape (queries,)."""


@dataclass(frozen=True)
class CutMetric(RankingMetric):
    """A metric of the first `cutoff` documents, or of the whole ranking.

    Parameters
    ----------
    cutoff : int, optional
        Documents counted, k. Without it the whole ranking counts.
    """

    cutoff: int | None = None

    def __post_init__(self) -> None:
        check_cutoff(self, self.cutoff)


@dataclass(frozen=True)
class BinaryMetric(CutMetric):
    """A ranking metric for which a document is relevant or not.

    Parameters
    ----------
    cutoff : int, optional
        Documents counted, k. Without it the whole ranking counts.
    min_relevance : float
        Lowest grade that is relevant, above 0 (else unjudged documents would be relevant).
    """

    min_relevance: float = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(self, "min_relevance", 0, np.inf)

    def hits(self, graded: Graded) -> Floats:
        """Return 1 at each of the first k ranks that holds a relevant document, else 0. Read only."""
        return graded.hits(self.min_relevance)[: self.cutoff]

    def relevant(self, graded: Graded) -> Floats:
        """Return the number of relevant documents of each query. Read only."""
        return graded.relevant(self.min_relevance)


def _precisions(hits: Floats) -> Floats:
    found, out = np.zeros(hits.shape[1]), np.empty_like(hits)
    for row, precision in zip(hits, out, strict=True):  # faster than a cumulative sum along the first axis
        found += row
        np.multiply(found, row, out=precision)
    out /= np.arange(1.0, hits.shape[0] + 1)[:, None]
    return out


def total(values: Floats) -> Floats:
    """Sum over ranks in rank order. Shape (queries,)."""
    if values.shape[1] == 1:  # NumPy would fold the single column and sum pairwise, which rounds differently
        values = np.repeat(values, 2, axis=1)
        return np.asarray(values.sum(axis=0)[:1], dtype=np.float64)
    sums: Floats = values.sum(axis=0)
    return sums


def ratio(part: Floats, whole: Floats | NDArray[np.int64]) -> Floats:
    """Divide, with 0 where there is nothing to divide by."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
