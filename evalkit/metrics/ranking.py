"""Metrics of rankings against graded judgements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from evalkit.metrics.base import Definition, MetricError
from evalkit.metrics.checks import check_between, check_choice
from evalkit.metrics.graded import (
    BinaryMetric,
    CutMetric,
    Floats,
    Graded,
    RankingMetric,
    define,
    ratio,
    total,
)

__all__ = ["ERR", "MAP", "MRR", "RBP", "Hit", "Judged", "Precision", "RPrecision", "Recall", "nDCG"]

_MAX_EXPONENT = 50  # 2^50 beside 1 is the precision of float64


@dataclass(frozen=True)
class MRR(BinaryMetric):
    """Reciprocal rank of the first relevant document; its mean is MRR."""

    definition: ClassVar[Definition] = define(
        "1 / rank of the first relevant document, 0 when there is none among the first k",
        "Voorhees, The TREC-8 question answering track report, 1999",
        "queries",
    )

    def per_query(self, graded: Graded) -> Floats:
        """Return the reciprocal rank for each query. Shape (queries,)."""
        hits = self.hits(graded)
        if not hits.shape[0]:
            return np.zeros(hits.shape[1])
        first = hits.argmax(axis=0)
        return np.where(hits.max(axis=0) > 0, 1.0 / (1.0 + first), 0.0)


@dataclass(frozen=True)
class nDCG(CutMetric):
    """Normalised discounted cumulative gain.

    Parameters
    ----------
    cutoff : int, optional
        Documents counted, k, in the ranking and in the ideal one.
    gain : {"linear", "exp"}
        Gain of grade g: g itself, or 2^g - 1. Negative grades gain nothing.
    """

    gain: Literal["linear", "exp"] = "linear"
    definition: ClassVar[Definition] = define(
        "DCG / ideal DCG, DCG = sum of gain(grade at rank r) / log2(r + 1), r = 1..k; gain(g) = max(g, 0) "
        '("linear") or 2^max(g, 0) - 1 ("exp"); the ideal ranks all judged documents by grade',
        "Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 2002 (linear, with "
        "the discount of trec_eval); Burges et al., Learning to rank using gradient descent, ICML 2005 (exp)",
        "queries",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "gain", ("linear", "exp"))

    def per_query(self, graded: Graded) -> Floats:
        """Return nDCG for each query. Shape (queries,).

        Raises
        ------
        MetricError
            If a grade is so high that exponential gains lose all others beside it.
        """
        if self.gain == "exp" and graded.ideal.max(initial=0.0) > _MAX_EXPONENT:
            highest = graded.ideal.max()
            raise MetricError(f'{self}: a judgement of {highest:g} is no exponent; use gain="linear"')
        return ratio(self._dcg(graded.grades), self._dcg(graded.ideal))

    def _dcg(self, grades: Floats) -> Floats:
        gains = np.maximum(grades[: self.cutoff], 0.0)
        if self.gain == "exp":
            gains = np.exp2(gains) - 1.0
        gains /= np.log2(np.arange(2.0, gains.shape[0] + 2))[:, None]
        return total(gains)


@dataclass(frozen=True)
class MAP(BinaryMetric):
    """Average precision; its mean is MAP."""

    definition: ClassVar[Definition] = define(
        "sum of precision@r over the ranks r <= k of relevant documents / R, R relevant documents in all",
        "Buckley and Voorhees, Retrieval system evaluation, in TREC: Experiment and Evaluation, 2005",
        "R: with a cut-off below R the value cannot reach 1 (trec_eval's map_cut)",
    )

    def per_query(self, graded: Graded) -> Floats:
        """Return average precision for each query. Shape (queries,)."""
        precisions = graded.precisions(self.min_relevance)[: self.cutoff]
        return ratio(total(precisions), self.relevant(graded))


@dataclass(frozen=True)
class Recall(BinaryMetric):
    """Share of the relevant documents that were found."""

    definition: ClassVar[Definition] = define(
        "relevant documents among the first k / R",
        "Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, ch. 8",
        "R, all relevant documents of the query",
    )

    def per_query(self, graded: Graded) -> Floats:
        """Return recall for each query. Shape (queries,)."""
        return ratio(total(self.hits(graded)), self.relevant(graded))


@dataclass(frozen=True)
class Precision(BinaryMetric):
    """Share of the ranks that hold a relevant document."""

    definition: ClassVar[Definition] = define(
        "relevant documents among the first k / k; without k, / documents returned",
        "Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, ch. 8",
        "k, also for a ranking shorter than k (as trec_eval)",
    )

    def per_query(self, graded: Graded) -> Floats:
        """Return precision for each query. Shape (queries,)."""
        hits = total(self.hits(graded))
        shown = graded.lengths if self.cutoff is None else np.full_like(graded.lengths, self.cutoff)
        return ratio(hits, shown)


@dataclass(frozen=True)
class Hit(BinaryMetric):
    """Whether a relevant document was found; also called success."""

    definition: ClassVar[Definition] = define(
        "1 when a relevant document is among the first k, else 0",
        "trec_eval's success_k (Buckley, NIST)",
        "queries",
    )

    def per_query(self, graded: Graded) -> Floats:
        """Return 0 or 1 for each query. Shape (queries,)."""
        hit: Floats = self.hits(graded).max(axis=0, initial=0.0)
        return hit


@dataclass(frozen=True)
class RPrecision(RankingMetric):
    """Precision at rank R, the number of relevant documents.

    Parameters
    ----------
    min_relevance : float
        Lowest grade that is relevant, above 0.
    """

    min_relevance: float = 1
    definition: ClassVar[Definition] = define(
        "relevant documents among the first R / R, R relevant documents in all",
        "Buckley and Voorhees, Retrieval system evaluation, in TREC: Experiment and Evaluation, 2005",
        "R",
    )

    def __post_init__(self) -> None:
        check_between(self, "min_relevance", 0, np.inf)

    def per_query(self, graded: Graded) -> Floats:
        """Return R-precision for each query. Shape (queries,)."""
        relevant = graded.relevant(self.min_relevance)
        deepest = int(relevant.max(initial=0))
        hits = graded.hits(self.min_relevance)[:deepest]
        ranks = np.arange(hits.shape[0])[:, None]
        return ratio(total(hits * (ranks < relevant)), relevant)


@dataclass(frozen=True)
class RBP(BinaryMetric):
    """Rank-biased precision.

    Parameters
    ----------
    cutoff : int, optional
        Documents counted, k. Without it the whole ranking counts.
    min_relevance : float
        Lowest grade that is relevant, above 0.
    persistence : float
        Probability p that the user goes on to the next document, between 0 and 1.
    """

    persistence: float = 0.8
    definition: ClassVar[Definition] = define(
        "(1 - p) * sum of p^(r - 1) over the ranks r <= k of relevant documents",
        "Moffat and Zobel, Rank-biased precision for measurement of retrieval effectiveness, TOIS 2008",
        "the expected number of documents seen, 1 / (1 - p)",
        "a lower bound: unjudged documents and the ranks beyond the last could add a residual",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(self, "persistence", 0, 1)

    def per_query(self, graded: Graded) -> Floats:
        """Return rank-biased precision for each query. Shape (queries,)."""
        hits = self.hits(graded)
        weights = self.persistence ** np.arange(hits.shape[0])
        return total(hits * weights[:, None]) * (1.0 - self.persistence)


@dataclass(frozen=True)
class ERR(CutMetric):
    """Expected reciprocal rank.

    Parameters
    ----------
    cutoff : int, optional
        Documents counted, k. Without it the whole ranking counts.
    max_grade : int
        Highest grade of the scale; 4 in the TREC web track. A higher judgement is an error.
    """

    max_grade: int = 4
    definition: ClassVar[Definition] = define(
        "sum over r = 1..k of R(r) / r * product over i < r of (1 - R(i)); R(i) = (2^max(g, 0) - 1) / 2^max_grade",
        "Chapelle et al., Expected reciprocal rank for graded relevance, CIKM 2009",
        "queries",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(self, "max_grade", 0, 64)

    def per_query(self, graded: Graded) -> Floats:
        """Return expected reciprocal rank for each query. Shape (queries,).

        Raises
        ------
        MetricError
            If a judgement lies above `max_grade`.
        """
        if graded.ideal.size and graded.ideal.max() > self.max_grade:
            highest = graded.ideal.max()
            raise MetricError(
                f"{self}: a judgement of {highest:g} exceeds max_grade={self.max_grade}; raise max_grade"
            )
        grades = np.maximum(graded.grades[: self.cutoff], 0.0)
        if not grades.shape[0]:
            return np.zeros(grades.shape[1])
        stops = (np.exp2(grades) - 1.0) / 2.0**self.max_grade
        arrives = np.cumprod(1.0 - stops, axis=0)
        stops[1:] *= arrives[:-1]
        stops /= np.arange(1.0, stops.shape[0] + 1)[:, None]
        return total(stops)


@dataclass(frozen=True)
class Judged(CutMetric):
    """Share of the returned documents that anyone has judged: how far the other metrics can be trusted."""

    definition: ClassVar[Definition] = define(
        "documents among the first k with a judgement of any grade / min(k, documents returned)",
        "ir_measures' Judged (MacAvaney, Macdonald and Ounis, ECIR 2022)",
        "min(k, documents returned)",
        empty="0 without results",
    )

    def per_query(self, graded: Graded) -> Floats:
        """Return the judged share for each query. Shape (queries,)."""
        judged = (graded.grades[: self.cutoff] > -np.inf).astype(np.float64)
        shown = graded.lengths if self.cutoff is None else np.minimum(graded.lengths, self.cutoff)
        return ratio(total(judged), shown)
