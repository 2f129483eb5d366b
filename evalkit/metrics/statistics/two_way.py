"""Shares of events that are clustered in two ways at once: by the entry given and by the conversation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.columns import Array
from evalkit.metrics.base import Estimate, MetricError
from evalkit.metrics.statistics.proportions import beta_bounds, effective_trials

__all__ = ["Crossed", "Share", "Side", "two_way_proportion_interval"]

Side = Literal["two-sided", "upper", "lower"]
Ints = NDArray[np.int64]
FEWEST = 5
"""Clusters with an event, and without one: below so many their spread is not relied on."""


def two_way_proportion_interval(
    events: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    level: float = 0.95,
    side: Side = "two-sided",
    alike: bool = False,
) -> Estimate:
    """Interval of a share of events that come in clusters of two kinds that cross.

    Clopper-Pearson with the effective number of trials, as `clustered_proportion_interval` has it, from the variance
    of two-way clusters: that of either kind, less that of both at once, and never less than that of one kind. Where
    fewer than five clusters have an event, or fewer than five have none, their spread can hardly be seen, and there
    are no more trials than clusters: conservative.

    Parameters
    ----------
    events : array of bool, shape (n,)
    first : array, shape (n,)
        Labels of the larger clusters, such as cache entries.
    second : array, shape (n,)
        Labels of the others, such as conversations. A trial that is in none has a label of its own.
    level : float
        With one side, that of the one-sided bound, above 0.5.
    side : {"two-sided", "upper", "lower"}
        With "upper" the lower end is 0, with "lower" the upper one is 1.
    alike : bool
        Whether the interval is made a second time with all clusters of the first kind weighed alike, however many
        trials they have, and its ends are the farther ones of both. Where few clusters hold most trials (the entries
        of a cache, by Zipf's law) the share of all trials says little as long as the large ones happen to have no
        event, and its interval is far too short. Not for events that hang on a trial's place in its cluster, as a
        hit does: the first request of an entry is a miss.

    Returns
    -------
    Estimate
        `value` is the share of all trials; nan with interval [0, 1] where there is none.

    Raises
    ------
    MetricError
        If an event is neither 0 nor 1, lengths differ, or the level does not fit.

    Notes
    -----
    Coverage is in `calibration.TWO_WAY`: with `alike` that of the level, also where entries are right or wrong as a
    whole, as long as large clusters are about as likely to be bad as small ones. Where the large ones are the worse,
    no method helps that does not know it. Trials that cannot have an event must not be among them: a cache's misses
    would pass for clusters that were seen to be good.

    References
    ----------
    Cameron, Gelbach and Miller, Robust inference with multiway clustering, Journal of Business and Economic
    Statistics 2011. Korn and Graubard, Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data, Survey Methodology 1998.
    """
    happened = np.asarray(events, dtype=np.float64)
    labels = [np.asarray(first), np.asarray(second)]
    if happened.ndim != 1 or any(one.shape != happened.shape for one in labels):
        raise MetricError(f"{happened.size} events for {labels[0].size} and {labels[1].size} labels; give one each")
    if not np.isin(happened, (0.0, 1.0)).all():
        raise MetricError("events must be true or false")
    if side not in ("two-sided", "upper", "lower"):
        raise MetricError(f"side is {side!r}; it is 'two-sided', 'upper' or 'lower'")
    if not (0.0 if side == "two-sided" else 0.5) < level < 1:
        raise MetricError(f"level is {level}; it is below 1, and above 0 (one-sided: above 0.5)")
    codes = [np.unique(one, return_inverse=True)[1] for one in labels]
    trials = np.ones(happened.size, dtype=np.bool_)
    return Crossed(codes[0], codes[1]).share(happened == 1, trials, alike=alike).at(level, side)


class Crossed:
    """Clusters of two kinds that cross, made ready once for whatever is averaged over them.

    The variance of a mean is the sum of those by either clustering, less that by both at once, and never less than by
    one alone (Cameron, Gelbach and Miller, *Robust inference with multiway clustering*, Journal of Business and
    Economic Statistics 2011). Quantiles are Student's, for the smaller number of clusters.

    Parameters
    ----------
    first, second : int arrays of shape (n,)
        Labels, 0 or more and not much more than n: they are counted, not sorted.
    """

    def __init__(self, first: Array, second: Array) -> None:
        self._kinds = (first, second, _both(first, second))

    def mean(self, values: Array, level: float = 0.95) -> Estimate:
        """Return a mean and its interval, within the range of the values; nan if a value is nan, or there is none."""
        n = len(values)
        if not n or not np.isfinite(values).all():
            return Estimate(math.nan, math.nan, math.nan, n, "undefined", level)
        mean = float(values.mean())
        counts = [int(np.count_nonzero(np.bincount(labels))) for labels in self._kinds]
        groups = min(counts[:2])
        if groups < 2:
            return Estimate(mean, -math.inf, math.inf, n, "no interval from one cluster", level)
        half = _student(level, groups) * math.sqrt(_variance(values - mean, self._kinds, counts)) / n
        low, high = max(mean - half, float(values.min())), min(mean + half, float(values.max()))
        return Estimate(mean, min(low, mean), max(high, mean), n, f"t, {groups} clusters", level)

    def share(self, events: Array, trials: Array, *, alike: bool = False) -> Share:
        """Return the share of trials with an event, ready for an interval at any level.

        Parameters
        ----------
        events, trials : bool arrays of shape (n,)
            Every event is one of a trial.
        alike : bool
            As for `two_way_proportion_interval`.
        """
        happened, kinds = events[trials].astype(np.float64), [labels[trials] for labels in self._kinds]
        n = len(happened)
        sizes = [np.bincount(labels) for labels in kinds]
        counts = [int(np.count_nonzero(one)) for one in sizes]
        bad = [np.bincount(labels, weights=happened, minlength=1) for labels in kinds[:2]]
        seen = min(
            int(np.count_nonzero(part)) for one, size in zip(bad, sizes, strict=False) for part in (one, size - one)
        ) if n else 0  # fmt: skip
        parts: list[tuple[float, float]] = []
        for weights in (np.ones(n), 1 / sizes[0][kinds[0]])[: (1 + alike) * (n > 0)]:
            share = float(np.average(happened, weights=weights))
            parts.append((share, _variance(weights / weights.sum() * (happened - share), kinds, counts)))
        return Share(n, float(happened.mean()) if n else math.nan, min(counts[:2]), seen < FEWEST, tuple(parts))


@dataclass(frozen=True)
class Share:
    """A share of trials in crossed clusters, with the interval of `two_way_proportion_interval`.

    Parameters
    ----------
    n : int
        Trials.
    value : float
    groups : int
        Clusters, of the kind that has fewer.
    few : bool
        Whether so few clusters have an event, or have none, that their spread cannot be seen.
    parts : tuple of (share, variance)
        Of all trials; and of all clusters weighed alike.
    """

    n: int
    value: float
    groups: int
    few: bool
    parts: tuple[tuple[float, float], ...]

    def at(self, level: float, side: Side = "two-sided") -> Estimate:
        """Return the share and its interval at a level; nan and [0, 1] where there was no trial."""
        if not self.n:
            return Estimate(math.nan, 0.0, 1.0, 0, "undefined: no trials", level)
        inner = level if side == "two-sided" else 2 * level - 1  # its tail is that of the one-sided bound
        worth = [effective_trials(share, variance, self.n, self.groups, inner) for share, variance in self.parts]
        worth = [min(trials, self.groups) if self.few else trials for trials in worth]
        pairs = zip(self.parts, worth, strict=True)
        ends = [beta_bounds(min(share, 1.0) * trials, trials, inner) for (share, _), trials in pairs]
        note = f"two-way Korn-Graubard, {self.groups} clusters, {min(worth):.0f} effective trials"
        low = 0.0 if side == "upper" else min(low for low, _ in ends)
        high = 1.0 if side == "lower" else max(high for _, high in ends)
        return Estimate(self.value, low, high, self.n, note, level)


def _variance(residuals: Array, kinds: Sequence[Array], counts: Sequence[int]) -> float:
    """Return the variance of a sum of residuals; `kinds`: of either clustering, then of both at once."""
    parts = []
    for labels, groups in zip(kinds, counts, strict=True):
        squares = float(np.square(np.bincount(labels, weights=residuals)).sum())  # no BLAS: its threads wait
        parts.append(squares * groups / max(groups - 1, 1))
    first, second, both = parts
    return max(first + second - both, first, second)


def _both(first: Array, second: Array) -> Ints:
    """Label the pairs. Where a second label stands alone, so does its pair: only the others are sorted."""
    n = len(first)
    found: Ints = np.arange(n, dtype=np.int64)
    shared = np.bincount(second, minlength=1)[second] > 1
    pairs = first[shared].astype(np.int64) * (int(second.max(initial=0)) + 1) + second[shared]
    found[shared] = n + np.unique(pairs, return_inverse=True)[1]
    return found


def _student(level: float, groups: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, groups - 1))
