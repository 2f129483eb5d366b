"""Metrics of caches. Papers mix these shares: each one states what it divides by."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import Definition, Estimate, Metric, MetricError, Need

__all__ = [
    "CacheCurve",
    "CacheMetric",
    "CachePrecision",
    "CacheRecall",
    "FalseHitRate",
    "HitRate",
    "Lookups",
    "ServedWrong",
    "ValidHitRate",
    "WrongShare",
    "precision_hit_rate_curve",
]

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Lookups:
    """What a cache did, one element for each request.

    Parameters
    ----------
    hit : array of bool, shape (requests,)
        The cache answered.
    right : array of bool, shape (requests,)
        The answer served was right for the request. Looked at for hits only.
    should_hit : array of bool, shape (requests,), optional
        The cache held a right answer at that moment. Only rates over should-hit or should-miss need it.
    clusters : array, shape (requests,), optional
        Entry or conversation of each request: events of one entry are not independent.

    Raises
    ------
    MetricError
        If lengths differ, a value is not true or false, or a right hit is said to be one that should miss.
    """

    hit: Bools
    right: Bools
    should_hit: Bools | None = None
    clusters: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        size = len(self.hit)
        for name in ("hit", "right", "should_hit", "clusters"):
            values = getattr(self, name)
            if values is None:
                continue
            array = np.asarray(values)
            if array.shape != (size,):
                raise MetricError(f"lookups: {name} has shape {array.shape} for {size} requests")
            if name != "clusters":
                if not np.isin(array, (0, 1)).all():
                    raise MetricError(f"lookups: {name} must be true or false")
                array = array.astype(np.bool_)
            object.__setattr__(self, name, array)
        if self.should_hit is not None and (self.hit & self.right & ~self.should_hit).any():
            raise MetricError("lookups: a right hit on a request that should miss; correct should_hit or right")


@dataclass(frozen=True)
class CacheMetric(Metric):
    """A share of requests or of hits."""

    needs: ClassVar[Need] = "caching"

    def of(self, lookups: Lookups, *, level: float = 0.95) -> Estimate:
        """Return the share and its interval; `Estimate.n` is the denominator, and the method names it.

        The interval is Clopper-Pearson's, for clusters that of Korn and Graubard. With nothing to divide by
        the value is nan and the interval [0, 1].

        Raises
        ------
        MetricError
            If the metric needs `should_hit` and it is not given.
        """
        from evalkit.metrics.statistics import clustered_proportion_interval, proportion_interval

        events, trials = self._shares(lookups)
        if lookups.clusters is None:
            share = proportion_interval(int((events & trials).sum()), int(trials.sum()), level=level)
        else:
            share = clustered_proportion_interval(events[trials], lookups.clusters[trials], level=level)
        method = f"{share.method}; of {self.definition.denominator}"
        return Estimate(share.value, share.low, share.high, share.n, method, level)

    @abstractmethod
    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        """Return the events and the trials among the requests."""

    def _should(self, lookups: Lookups) -> Bools:
        if lookups.should_hit is None:
            raise MetricError(f"{self}: needs should_hit, whether the cache held a right answer")
        return lookups.should_hit


def _define(formula: str, denominator: str, source: str = "") -> Definition:
    return Definition(
        formula=formula,
        source=source or "the confusion matrix of hits (Fawcett, An introduction to ROC analysis, 2006)",
        denominator=denominator,
        empty="nan where there is nothing to divide by, with interval [0, 1]",
    )


@dataclass(frozen=True)
class HitRate(CacheMetric):
    """Share of requests that the cache answered, rightly or not."""

    definition: ClassVar[Definition] = _define("hits / requests", "all requests")

    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        return lookups.hit, np.ones_like(lookups.hit)


@dataclass(frozen=True)
class CachePrecision(CacheMetric):
    """Share of hits that were right."""

    definition: ClassVar[Definition] = _define(
        "right hits / hits", "hits", "Bang, GPTCache, NLP-OSS 2023 (positive hits)"
    )

    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        return lookups.right, lookups.hit


@dataclass(frozen=True)
class WrongShare(CacheMetric):
    """Share of hits that were wrong: 1 - precision."""

    higher_is_better: ClassVar[bool] = False
    definition: ClassVar[Definition] = _define("wrong hits / hits", "hits")

    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        return ~lookups.right, lookups.hit


@dataclass(frozen=True)
class FalseHitRate(CacheMetric):
    """Share of the requests that should miss on which the cache answered all the same."""

    higher_is_better: ClassVar[bool] = False
    definition: ClassVar[Definition] = _define(
        "hits that should miss / requests that should miss", "requests that should miss"
    )

    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        return lookups.hit, ~self._should(lookups)


@dataclass(frozen=True)
class ServedWrong(CacheMetric):
    """Share of all requests that were served a wrong answer from the cache: the error rate users see."""

    higher_is_better: ClassVar[bool] = False
    definition: ClassVar[Definition] = _define(
        "wrong hits / requests",
        "all requests",
        "Schroeder et al., vCache, 2025 (error rate)",
    )

    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        return lookups.hit & ~lookups.right, np.ones_like(lookups.hit)


@dataclass(frozen=True)
class ValidHitRate(CacheMetric):
    """Share of all requests that were served a right answer from the cache."""

    definition: ClassVar[Definition] = _define("right hits / requests", "all requests")

    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        return lookups.hit & lookups.right, np.ones_like(lookups.hit)


@dataclass(frozen=True)
class CacheRecall(CacheMetric):
    """Share of the requests that could be answered rightly from the cache and were."""

    definition: ClassVar[Definition] = _define("right hits / requests that should hit", "requests that should hit")

    def _shares(self, lookups: Lookups) -> tuple[Bools, Bools]:
        return lookups.hit & lookups.right, self._should(lookups)


@dataclass(frozen=True, eq=False)
class CacheCurve:
    """Precision against hit rate over all thresholds.

    Parameters
    ----------
    thresholds : NDArray[float64], shape (points,)
        Distinct scores, falling: a request hits when its score is at least the threshold.
    hit_rate : NDArray[float64], shape (points,)
        Hits / all requests, rising.
    precision : NDArray[float64], shape (points,)
        Right hits / hits.
    area : float
        Sum of precision times the rise of the hit rate: the right share of all requests, averaged over
        thresholds as average precision does. Its denominator is all requests, so 1 asks for a cache that
        could answer everything rightly.
    """

    thresholds: NDArray[np.float64]
    hit_rate: NDArray[np.float64]
    precision: NDArray[np.float64]
    area: float


def precision_hit_rate_curve(scores: ArrayLike, right: ArrayLike) -> CacheCurve:
    """Return precision against hit rate as the similarity threshold falls.

    Parameters
    ----------
    scores : array, shape (requests,)
        Similarity of each request to its best entry; minus infinity when the cache was empty.
    right : array of bool, shape (requests,)
        Whether that entry's answer is right for the request.

    Raises
    ------
    MetricError
        If there is no request, a score is NaN, or lengths differ.

    References
    ----------
    Steps are summed, not interpolated: Davis and Goadrich, The relationship between precision-recall and ROC
    curves, ICML 2006.
    """
    score, good = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if score.shape != good.shape or score.ndim != 1 or not score.size:
        raise MetricError(f"curve: {score.size} scores for {good.size} labels; give one of each per request")
    if np.isnan(score).any():
        raise MetricError(f"curve: score {int(np.flatnonzero(np.isnan(score))[0])} is NaN; give -inf for none")
    order = np.argsort(-score, kind="stable")
    score, good = score[order], good[order]
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True) & (score > -np.inf))
    hits = last + 1.0
    precision = np.cumsum(good)[last] / hits
    hit_rate = hits / score.size
    area = float(np.sum(precision * np.diff(hit_rate, prepend=0.0)))
    return CacheCurve(score[last], hit_rate, precision, area)
