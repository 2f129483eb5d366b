"""Whether a router beats chance at the same cost: intervals and p-values from resampled prompts, and plain words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import Estimate

Floats = NDArray[np.float64]

BEATS = "beats random at the same cost"
DOES_NOT = "does not beat random at the same cost"
WORSE = "is worse than random at the same cost"


@dataclass(frozen=True)
class AgainstRandom:
    """A router beside a random one that costs the same.

    Parameters
    ----------
    gain : Estimate
        At a threshold: quality beyond the random router's. Of a whole curve: the area between the two, as a share of
        the gap.
    p : float
        Two-sided, by the bootstrap; corrected by Holm over the routers that were tried together.
    """

    gain: Estimate
    p: float

    @property
    def verdict(self) -> str:
        """One of `BEATS`, `DOES_NOT` and `WORSE`: what is not shown is not so."""
        if self.p >= 1 - self.gain.level or self.gain.value == 0:
            return DOES_NOT
        return BEATS if self.gain.value > 0 else WORSE

    def __str__(self) -> str:
        g = self.gain
        return (
            f"{self.verdict}: {100 * g.value:+.1f} [{100 * g.low:+.1f}, {100 * g.high:+.1f}] points, p = {self.p:.2g}"
        )


def estimate(value: float, draws: Floats, n: int, level: float) -> Estimate:
    """Return a value with the interval of its resamples, at quantiles widened for few prompts.

    Parameters
    ----------
    value : float
    draws : float64 array of shape (b,)
        Not finite where a resample has no value; the interval is open then.
    n : int
        Prompts.
    level : float

    References
    ----------
    Efron, *Bootstrap methods*, 1979; Hesterberg, *What teachers should know about the bootstrap*, 2015 (the expanded
    percentile interval).
    """
    from scipy.stats import norm, t

    label = f"expanded percentile, {n} prompts, {len(draws)} resamples"
    if n < 2 or not np.isfinite(draws).all():
        return Estimate(value, -np.inf, np.inf, n, f"{label}; open", level)
    wider = float(t.ppf((1 + level) / 2, n - 1)) * np.sqrt(n / (n - 1))
    tail = float(norm.cdf(-wider))
    ordered = np.sort(draws)
    low, high = (min(max(round((len(ordered) + 1) * q), 1), len(ordered)) - 1 for q in (tail, 1 - tail))
    return Estimate(value, float(min(ordered[low], value)), float(max(ordered[high], value)), n, label, level)


def band(draws: Floats, values: Floats, level: float) -> Floats:
    """Return the ends of each column's interval by itself, percentiles: shape (2, p) of draws of shape (b, p)."""
    ends = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.array([np.minimum(ends[0], values), np.maximum(ends[1], values)])


def p_value(draws: Floats) -> float:
    """Return the two-sided p-value that belongs to the percentile interval: where it would just leave 0 out.

    At least 2 / (b + 1).
    """
    if not np.isfinite(draws).all():
        return 1.0
    side = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (side + 1) / (len(draws) + 1))
