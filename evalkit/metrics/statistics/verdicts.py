"""What a comparison says, and the correction for making many."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, copysign, inf, log2
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import MetricError

__all__ = ["Comparison", "Verdict", "holm"]

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]
_POWER = 0.8  # with which `more_queries` would settle a comparison


@dataclass(frozen=True)
class Comparison:
    """Another system against a baseline.

    Parameters
    ----------
    n : int
        Pairs, or the smaller sample of an unpaired comparison.
    baseline, other : float
        Means.
    difference, low, high : float
        Other minus baseline and its interval at `level`.
    p : float
        Two-sided p-value that decides: Fisher's randomisation (Welch's t when unpaired).
    p_t : float
        Two-sided p-value of the t test, for comparison.
    p_adjusted : float
        `p` after Holm's correction over the comparisons made together; `p` itself for a single one.
    effect : float
        Mean difference in standard deviations of the differences (Cohen's d_z); infinite without spread.
    wins, ties, losses : int
        Pairs in which the other system is better, equal, worse; zero when unpaired.
    verdict : {"better", "worse", "equivalent", "inconclusive"}
        For the other system. Equivalent: the interval at ``2 * level - 1`` (two one-sided tests) lies within
        the margin. Better or worse: the adjusted p is below ``1 - level``.
    more_queries : int or None
        For an inconclusive verdict, further pairs that would settle it with power 0.8 if the observed mean
        and spread of the differences persist; None when no number would, or it is settled.
    margin : float or None
        Largest difference that does not matter.
    level : float
    method : str
    """

    n: int
    baseline: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    p_t: float
    p_adjusted: float
    effect: float
    wins: int
    ties: int
    losses: int
    verdict: Verdict
    more_queries: int | None
    margin: float | None
    level: float
    method: str

    def __str__(self) -> str:
        more = f", {self.more_queries:,} more queries would settle it" if self.more_queries else ""
        interval = f"{self.difference:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"
        return f"{self.verdict}: {interval}, p = {self.p_adjusted:.3g}{more}"


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for the number of comparisons, so that the chance of any false one stays bounded.

    Parameters
    ----------
    p_values : array, shape (m,)

    Returns
    -------
    NDArray[float64], shape (m,)
        Adjusted p-values, in the order given.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise MetricError("p-values must lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def verdict(gain: float, p: float, equivalent: bool, level: float) -> Verdict:
    """Return the verdict for a system whose mean is better by `gain`."""
    if equivalent:
        return "equivalent"
    if p < 1 - level and gain != 0:
        return "better" if gain > 0 else "worse"
    return "inconclusive"


def standardised(difference: float, spread: float) -> float:
    """Return the difference in standard deviations: zero without difference, infinite without spread."""
    if difference == 0:
        return 0.0
    return difference / spread if spread else copysign(inf, difference)


def more_queries(
    difference: float, spread: float, n: int, margin: float | None, level: float, comparisons: int = 1
) -> int | None:
    """Return how many more pairs would settle a comparison, if mean and spread stay what they are.

    The normal approximation for power 0.8: of a test at size ``(1 - level) / comparisons`` that there is a
    difference (the size that Holm asks of the clearest of that many), or, where the observed difference lies
    within the margin, of two one-sided tests that it is smaller. At least 1, and at least what lets the signs of
    that many differences fall so one-sidedly.
    """
    from scipy.stats import norm

    power, size = float(norm.ppf(_POWER)), (1 - level) / comparisons
    needed = []
    if difference != 0:
        signs = log2(2 / size)
        needed.append(max(signs, ((float(norm.isf(size / 2)) + power) * spread / difference) ** 2))
    if margin is not None and abs(difference) < margin:
        needed.append(((float(norm.ppf(level)) + power) * spread / (margin - abs(difference))) ** 2)
    return max(1, ceil(min(needed)) - n) if needed else None
