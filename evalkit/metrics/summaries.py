"""Summaries of latencies, refused when they contradict themselves, and histograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, inf, isfinite, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import MetricError
from evalkit.metrics.latency import Count, durations

__all__ = ["HISTOGRAMS", "Histogram", "Summary", "histogram", "summarise"]

HISTOGRAMS: Mapping[str, tuple[float, ...]] = {
    "embedding_latency_ms": (10, 25, 50, 100, 200),
    "vector_search_latency_ms": (50, 100, 200, 500, 1000),
    "llm_latency_ms": (100, 200, 500, 1000, 2000),
    "total_rag_latency_ms": (200, 500, 1000, 2000),
    "cache_hit_latency_ms": (50, 100, 200, 500),
    "cache_miss_latency_ms": (500, 1000, 2000),
}
_PERCENTILES = (50.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True)
class Summary:
    """A mean with percentiles, checked for consistency when it is made.

    Parameters
    ----------
    mean : float
        In ms, as everything here.
    percentiles : mapping from percent to ms
        Such as ``{50: 12.0, 95: 38.0}``.
    minimum, maximum : float
        Smallest and largest sample; the maximum is infinite when it was not reported.
    std : float, optional
        Standard deviation (n - 1).
    count : int, optional
        Number of samples. With it the check allows for exactly what interpolation between order statistics
        (type 7) can do; without it the sample is taken to be large.
    tolerance : float
        Rounding of the reported numbers, in ms.

    Raises
    ------
    MetricError
        If percentiles fall, lie outside the extremes, or forbid the mean or the standard deviation.
    """

    mean: float
    percentiles: Mapping[float, float] = field(default_factory=dict)
    minimum: float = 0.0
    maximum: float = inf
    std: float | None = None
    count: int | None = None
    tolerance: float = 0.0

    _relative: ClassVar[float] = 1e-9

    def __post_init__(self) -> None:
        points = [self.minimum, *(self.percentiles[p] for p in sorted(self.percentiles)), self.maximum]
        slack = self.tolerance + self._relative * max(abs(x) for x in (self.mean, *points) if isfinite(x))
        if any(not 0 < p < 100 for p in self.percentiles):
            raise MetricError(f"summary: percentiles {sorted(self.percentiles)} must lie between 0 and 100")
        if not isfinite(self.mean) or any(b < a - slack for a, b in pairwise(points)):
            raise MetricError(f"summary contradicts itself: minimum, percentiles, maximum {points} fall")
        low, high = self.mean_bounds()
        if not low - slack <= self.mean <= high + slack:
            raise MetricError(
                f"summary contradicts itself: its percentiles allow a mean from {low:g} to {high:g} ms, "
                f"not {self.mean:g}; check what was averaged"
            )
        if self.std is not None:
            self._check_std(self.std, slack)

    def _check_std(self, std: float, slack: float) -> None:
        correction = sqrt(self.count / (self.count - 1)) if self.count and self.count > 1 else 1.0
        below, above = max(self.mean - self.minimum, 0.0), max(self.maximum - self.mean, 0.0)
        most = sqrt(below * above) * correction if isfinite(above) else inf  # Bhatia and Davis 2000
        if not -slack <= std <= most + slack:
            raise MetricError(f"summary contradicts itself: its extremes allow a std up to {most:g} ms, not {std:g}")

    def mean_bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest mean that minimum, percentiles and maximum allow, in ms."""
        marks = sorted(self.percentiles)
        if self.count is None:
            below = above = [p / 100 for p in marks]
        else:  # the quantile lies between the samples of rank floor and ceil of (n - 1) p, counted from 0
            places = [(self.count - 1) * p / 100 for p in marks]
            below = [ceil(place - 1e-9) / self.count for place in places]
            above = [(floor(place + 1e-9) + 1) / self.count for place in places]
        values = [self.percentiles[p] for p in marks]
        low = _weigh([0.0, *below, 1.0], [self.minimum, *values])
        high = _weigh([0.0, *above, 1.0], [*values, self.maximum])
        return low, high

    def tail_mean(self) -> float:
        """Return the least that the samples above the highest percentile must average for this mean, in ms.

        A mean of 206 ms with a p95 of 1 ms asks the slowest twentieth to average 4,101 ms: not impossible,
        but worth a look at the samples.
        """
        if not self.percentiles:
            return self.mean
        top = max(self.percentiles)
        marks = sorted(self.percentiles)
        values = [self.percentiles[p] for p in marks]
        others = _weigh([0.0, *(p / 100 for p in marks)], values)
        return (self.mean - others) / (1 - top / 100)


def _weigh(edges: list[float], values: list[float]) -> float:
    """Return the mean of values held between consecutive edges; an empty stretch weighs nothing."""
    shares = [max(b - a, 0.0) for a, b in pairwise(edges)]
    return sum(share * value for share, value in zip(shares, values, strict=True) if share > 0)


def summarise(samples: ArrayLike) -> Summary:
    """Return count, mean, std, extremes and p50, p90, p95, p99 of durations.

    Parameters
    ----------
    samples : array, shape (n,)
        In ms.

    Raises
    ------
    MetricError
        If there is no sample, or one is negative or not finite.
    """
    array = durations(Count(), samples)
    levels = np.quantile(array, [p / 100 for p in _PERCENTILES]).tolist()
    return Summary(
        mean=float(array.mean()),
        percentiles=dict(zip(_PERCENTILES, levels, strict=True)),
        minimum=float(array.min()),
        maximum=float(array.max()),
        std=float(array.std(ddof=1)) if array.size > 1 else None,
        count=array.size,
    )


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of durations, cumulative as Prometheus keeps them.

    Parameters
    ----------
    edges : tuple of float
        Upper bucket edges in ms, each included in its bucket; a last bucket without bound follows.
    cumulative : NDArray[int64], shape (edges + 1,)
        Samples not above each edge, and all of them.
    total : float
        Sum of the samples in ms.
    """

    edges: tuple[float, ...]
    cumulative: NDArray[np.int64]
    total: float

    @property
    def counts(self) -> NDArray[np.int64]:
        """Samples in each bucket. Shape (edges + 1,)."""
        return np.diff(self.cumulative, prepend=0)


def histogram(samples: ArrayLike, edges: str | tuple[float, ...]) -> Histogram:
    """Count durations in buckets.

    Parameters
    ----------
    samples : array, shape (n,)
        In ms; may be empty.
    edges : str or tuple of float
        A name in `HISTOGRAMS`, or rising upper edges.

    Raises
    ------
    MetricError
        If the name is unknown, edges do not rise, or a sample is negative or not finite.
    """
    if isinstance(edges, str):
        if edges not in HISTOGRAMS:
            raise MetricError(f"no histogram {edges!r}; there are {', '.join(HISTOGRAMS)}")
        edges = HISTOGRAMS[edges]
    if not edges or any(b <= a for a, b in pairwise(edges)):
        raise MetricError(f"histogram edges {edges} must rise")
    values = np.asarray(samples, dtype=np.float64).ravel()
    ordered = np.sort(durations(Count(), values)) if values.size else values
    cumulative = np.append(np.searchsorted(ordered, edges, side="right"), ordered.size)
    return Histogram(tuple(edges), cumulative.astype(np.int64), float(ordered.sum()))
