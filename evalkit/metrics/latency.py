"""Metrics of durations in milliseconds.

Samples are taken per request and per stage; totals are summed per request before any of these, never by
adding percentiles.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import Definition, Estimate, Metric, MetricError, Need

__all__ = ["P50", "P90", "P95", "P99", "Count", "LatencyMetric", "Max", "Mean", "Min", "Std"]

Floats = NDArray[np.float64]
_OWN = "descriptive: of this sample only"
_QUANTILE = Definition(
    formula="Hyndman and Fan's type 7 quantile: linear between order statistics, as numpy.quantile",
    source="Hyndman and Fan, Sample quantiles in statistical packages, The American Statistician 1996",
    denominator="samples",
    empty="no samples are an error",
    note="the interval runs between order statistics, so it assumes independent samples and nothing of their "
    "shape; it is open above when the sample is too small",
)


@dataclass(frozen=True)
class LatencyMetric(Metric):
    """A statistic of durations.

    Parameters
    ----------
    stage : str, optional
        Stage of the pipeline; without it the whole request.
    """

    needs: ClassVar[Need] = "latency"
    unit: ClassVar[str] = "ms"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, np.inf)
    stage: str | None = None

    def of(self, samples: ArrayLike) -> Estimate:
        """Return the statistic and its interval.

        Parameters
        ----------
        samples : NDArray[float64], shape (n,)
            Durations in ms, at least one.

        Raises
        ------
        MetricError
            If there is no sample, or one is negative, NaN or infinite.
        """
        return self._estimate(durations(self, samples))

    @abstractmethod
    def _estimate(self, samples: Floats) -> Estimate: ...


def durations(metric: Metric, samples: ArrayLike) -> Floats:
    """Return samples as an array, after checking that they are durations."""
    array = np.asarray(samples, dtype=np.float64).ravel()
    if not array.size:
        raise MetricError(f"{metric}: no samples; measure at least one request")
    if not (np.isfinite(array) & (array >= 0)).all():
        at = int(np.flatnonzero(~(np.isfinite(array) & (array >= 0)))[0])
        raise MetricError(f"{metric}: sample {at} is {array[at]} ms; durations are finite and not negative")
    return array


def _descriptive(value: float, n: int) -> Estimate:
    return Estimate(value, value, value, n, _OWN)


@dataclass(frozen=True)
class Count(LatencyMetric):
    """How many samples there are."""

    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    definition: ClassVar[Definition] = Definition("number of samples", "counting", "samples")

    def _estimate(self, samples: Floats) -> Estimate:
        return _descriptive(float(samples.size), samples.size)


@dataclass(frozen=True)
class Mean(LatencyMetric):
    """Arithmetic mean."""

    definition: ClassVar[Definition] = Definition(
        formula="sum / number of samples",
        source="interval: Hesterberg, What teachers should know about the bootstrap, 2015",
        denominator="samples",
        empty="no samples are an error",
        note="under heavy tails the interval is too narrow: see statistics.calibration.COVERAGE",
    )

    def _estimate(self, samples: Floats) -> Estimate:
        from evalkit.metrics.statistics import mean_interval

        return mean_interval(samples)


@dataclass(frozen=True)
class Std(LatencyMetric):
    """Standard deviation."""

    definition: ClassVar[Definition] = Definition(
        formula="square root of the sum of squared deviations / (n - 1)",
        source="interval: percentile bootstrap (Efron 1979)",
        denominator="samples - 1",
        empty="no samples are an error; nan for a single one",
    )

    def _estimate(self, samples: Floats) -> Estimate:
        from evalkit.metrics.statistics import bootstrap_means

        if samples.size < 2:
            return Estimate(np.nan, 0.0, np.inf, 1, "undefined: one sample")
        centred = samples - samples.mean()
        first, second = bootstrap_means(np.column_stack([centred, centred**2])).T
        spread = np.sqrt(np.maximum(second - first**2, 0.0) * samples.size / (samples.size - 1))
        low, high = np.quantile(spread, [0.025, 0.975])
        method = f"percentile, {samples.size} samples, {spread.size} resamples"
        return Estimate(float(samples.std(ddof=1)), float(low), float(high), samples.size, method)


@dataclass(frozen=True)
class Min(LatencyMetric):
    """Smallest sample."""

    definition: ClassVar[Definition] = Definition("smallest sample", "order statistics", "samples")

    def _estimate(self, samples: Floats) -> Estimate:
        return _descriptive(float(samples.min()), samples.size)


@dataclass(frozen=True)
class Max(LatencyMetric):
    """Largest sample; it grows with the number of samples and says little of the next request."""

    definition: ClassVar[Definition] = Definition("largest sample", "order statistics", "samples")

    def _estimate(self, samples: Floats) -> Estimate:
        return _descriptive(float(samples.max()), samples.size)


@dataclass(frozen=True)
class _Percentile(LatencyMetric):
    """A quantile with its order-statistics interval."""

    definition: ClassVar[Definition] = _QUANTILE
    q: ClassVar[float]

    def _estimate(self, samples: Floats) -> Estimate:
        from evalkit.metrics.statistics import quantile_interval

        estimate = quantile_interval(samples, self.q)
        return Estimate(estimate.value, max(estimate.low, 0.0), estimate.high, estimate.n, estimate.method)


@dataclass(frozen=True)
class P50(_Percentile):
    """Median."""

    q: ClassVar[float] = 0.5


@dataclass(frozen=True)
class P90(_Percentile):
    """90th percentile."""

    q: ClassVar[float] = 0.9


@dataclass(frozen=True)
class P95(_Percentile):
    """95th percentile."""

    q: ClassVar[float] = 0.95


@dataclass(frozen=True)
class P99(_Percentile):
    """99th percentile; of fewer than 1,000 samples the method says that it is uncertain."""

    q: ClassVar[float] = 0.99
