"""Shares of events: intervals, and the paired test of hits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evalkit.metrics.base import Estimate, MetricError

__all__ = ["McNemar", "clustered_proportion_interval", "mcnemar", "proportion_interval"]


def proportion_interval(events: int, n: int, *, level: float = 0.95) -> Estimate:
    """Clopper-Pearson interval of a share of independent events.

    Coverage is at least `level` at every n and share, and mostly above it: for rare events near 0.98. With no
    event the upper end is about 3.7 / n at level 0.95.

    Parameters
    ----------
    events, n : int
        Events, and how often one could have happened. With n = 0 the value is nan, the interval [0, 1].

    Raises
    ------
    MetricError
        Unless 0 <= events <= n.

    References
    ----------
    Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
    Biometrika 1934.
    """
    if not 0 <= events <= n:
        raise MetricError(f"{events} events in {n} trials; events must lie between 0 and the trials")
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, "undefined: no trials", level)
    low, high = beta_bounds(events, n, level)
    return Estimate(events / n, low, high, n, "Clopper-Pearson", level)


def clustered_proportion_interval(events: ArrayLike, clusters: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Interval of a share of events that come in clusters (turns of a conversation, hits of one cache entry).

    Clopper-Pearson with the effective number of trials: trials divided by the design effect of the clusters,
    lessened for few clusters by the ratio of t quantiles. When all clusters have the same share (such as no
    event at all), the design effect cannot be seen and the number of clusters is taken: conservative.

    Parameters
    ----------
    events : array of bool, shape (n,)
        Whether the event happened.
    clusters : array, shape (n,)
        Labels.

    Raises
    ------
    MetricError
        If an event is neither 0 nor 1 or the lengths differ.

    References
    ----------
    Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data, Survey Methodology 1998.
    """
    happened, labels = np.asarray(events, dtype=np.float64), np.asarray(clusters)
    if happened.shape != labels.shape or happened.ndim != 1:
        raise MetricError(f"{happened.size} events for {labels.size} cluster labels; give one for each")
    if not np.isin(happened, (0.0, 1.0)).all():
        raise MetricError("events must be true or false")
    n = happened.size
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, "undefined: no trials", level)
    _, codes = np.unique(labels, return_inverse=True)
    sizes, sums = np.bincount(codes), np.bincount(codes, weights=happened)
    groups, share = sizes.size, float(happened.mean())
    variance = 0.0
    if groups > 1:
        variance = groups / (groups - 1) * float(np.sum((sums - share * sizes) ** 2)) / n**2
    effective = effective_trials(share, variance, n, groups, level)
    low, high = beta_bounds(share * effective, effective, level)
    note = f"Korn-Graubard, {groups} clusters, {effective:.0f} effective trials"
    return Estimate(share, low, high, n, note, level)


def effective_trials(share: float, variance: float, n: int, groups: int, level: float) -> float:
    """Return how many independent trials say as much: at most `n`; the clusters where no variance is seen."""
    from scipy.special import stdtrit

    if variance <= 0:
        return float(groups)
    tail = (1 + level) / 2
    shrink = (stdtrit(n - 1, tail) / stdtrit(groups - 1, tail)) ** 2
    return min(float(n), share * (1 - share) / variance * float(shrink))


def beta_bounds(events: float, n: float, level: float) -> tuple[float, float]:
    """Return the Clopper-Pearson bounds, for whole or effective numbers of trials."""
    from scipy.special import betaincinv  # what scipy.stats calls, a hundred times quicker

    tail = (1 - level) / 2
    low = float(betaincinv(events, n - events + 1, tail)) if events > 0 else 0.0
    high = float(betaincinv(events + 1, n - events, 1 - tail)) if events < n else 1.0
    return low, high


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test of two systems that hit or miss the same queries.

    Parameters
    ----------
    n : int
        Queries.
    only_baseline, only_other : int
        Queries that only one of the systems hit.
    p : float
        Two-sided.
    """

    n: int
    only_baseline: int
    only_other: int
    p: float


def mcnemar(baseline: ArrayLike, other: ArrayLike) -> McNemar:
    """Test whether two systems hit equally often, from the queries on which they disagree.

    The exact binomial test: its size stays below the level, well below with few disagreements.

    Parameters
    ----------
    baseline, other : array of bool, shape (n,)
        Hits on the same queries.

    Raises
    ------
    MetricError
        If the lengths differ or a value is neither 0 nor 1.

    References
    ----------
    McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 1947.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(baseline, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise MetricError(f"hits of shapes {first.shape} and {second.shape}; give the same queries")
    if not np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        raise MetricError("hits must be true or false")
    only_first, only_second = int((first > second).sum()), int((second > first).sum())
    apart = only_first + only_second
    p = float(binomtest(only_first, apart).pvalue) if apart else 1.0
    return McNemar(first.size, only_first, only_second, p)
