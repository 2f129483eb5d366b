"""Shares of events that are clustered in two ways at once: by the entry given and by the conversation."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import Estimate, MetricError
from evalkit.metrics.statistics.proportions import beta_bounds, effective_trials

__all__ = ["Side", "two_way_proportion_interval"]

Side = Literal["two-sided", "upper", "lower"]
_FEWEST = 5
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
    n = happened.size
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, "undefined: no trials", level)
    codes = [np.unique(one, return_inverse=True)[1] for one in labels]
    codes.append(np.unique(codes[0].astype(np.int64) * n + codes[1], return_inverse=True)[1])
    groups = min(int(one.max()) + 1 for one in codes[:2])
    seen = min(np.unique(one[happened == what]).size for one in codes[:2] for what in (0, 1))
    inner = level if side == "two-sided" else 2 * level - 1  # its tail is that of the one-sided bound
    ends: list[tuple[float, float]] = []
    trials: list[float] = []
    for weights in (np.ones(n), 1 / np.bincount(codes[0])[codes[0]])[: 1 + alike]:
        share = float(np.average(happened, weights=weights))
        residuals = weights / weights.sum() * (happened - share)
        variance = _variance(residuals, codes) if seen and groups > 1 else 0.0
        found = effective_trials(share, variance, n, groups, inner)
        trials.append(found if seen >= _FEWEST else min(found, groups))
        ends.append(beta_bounds(min(share, 1.0) * trials[-1], trials[-1], inner))
    low = 0.0 if side == "upper" else min(low for low, _ in ends)
    high = 1.0 if side == "lower" else max(high for _, high in ends)
    note = f"two-way Korn-Graubard, {groups} clusters, {min(trials):.0f} effective trials"
    return Estimate(float(happened.mean()), low, high, n, note, level)


def _variance(residuals: NDArray[np.float64], codes: list[NDArray[np.int64]]) -> float:
    """Return the variance of a mean from weighted residuals; `codes`: of either kind, then of both at once."""
    parts = []
    for one in codes:
        sums = np.bincount(one, weights=residuals)
        parts.append(sums.size / max(sums.size - 1, 1) * float(sums @ sums))
    return max(parts[0] + parts[1] - parts[2], parts[0], parts[1])
