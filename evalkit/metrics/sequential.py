"""Confidence sequences: intervals that may be looked at after every query.

They come from betting. Whoever plays a fair game multiplies the stake by ``1 / (1 - level)`` with probability at most
``1 - level``, however often one looks (Ville 1939): a mean against which that succeeds is refused.

References
----------
Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS B 2024, with its section on
sampling without replacement. Waudby-Smith and Ramdas, *Confidence sequences for sampling without replacement*,
NeurIPS 2020.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import MetricError

__all__ = ["confidence_sequence"]

Floats = NDArray[np.float64]
_BETS = 0.9 * 0.5 ** np.arange(7)
"""Shares of the largest bet that could not ruin; the stake is spread evenly over them, as none suits all spreads."""
_STEPS = 256
"""Means that are tried between the lowest and the highest value."""
_ROUNDING = 1e-9
"""Below this a mean is the lowest possible one."""


def confidence_sequence(
    values: ArrayLike, *, low: float = 0.0, high: float = 1.0, population: int | None = None, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Return, after each value, an interval of the mean.

    With probability at least `level`, all of the intervals hold the mean of the whole population.

    Parameters
    ----------
    values : array, shape (t,) or (t, columns)
        In the random order in which they were drawn; every column is a sequence by itself.
    low, high : float
        Smallest and largest value that there can be.
    population : int, optional
        Size of the set that the values are drawn from without replacement. Default: independent draws from an endless
        population.
    level : float

    Returns
    -------
    NDArray[float64], NDArray[float64]
        Lower and upper ends, shaped as `values`: they only ever close in, and meet when the whole set was seen.

    Raises
    ------
    MetricError
        If there is no value, one is not between `low` and `high`, or there are more than `population`.

    Notes
    -----
    The hedged capital process of Waudby-Smith and Ramdas (2024), half of the error on each side. In place of one bet
    that adapts, the stake is spread over seven fixed shares of the largest possible one. Between two means that are
    tried, the capital's logarithm is convex in the mean, so the line through the last two that are refused gives an
    end that is never too close.
    """
    shares = as_shares(np.asarray(values, dtype=np.float64), low, high, population, level, "values").T
    threshold = math.log(2 / (1 - level))
    lower = low + (high - low) * _lower_ends(shares, population, threshold)
    upper = high - (high - low) * _lower_ends(1 - shares, population, threshold)
    slack = 1e-12 * (high - low)  # sums round
    return np.maximum(lower - slack, low).T, np.minimum(upper + slack, high).T


def as_shares(values: Floats, low: float, high: float, population: int | None, level: float, what: str) -> Floats:
    """Return values as shares of the way from `low` to `high`, after checking them."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise MetricError(f"low {low} and high {high} do not fit; both are finite, and low is below high")
    if not 0 < level < 1:
        raise MetricError(f"level must lie between 0 and 1, not {level!r}")
    if values.ndim not in (1, 2) or not values.size:
        raise MetricError(f"{what} of shape {values.shape}; give at least one observation")
    if not ((values >= low) & (values <= high)).all():
        raise MetricError(f"{what}: a value is not between {low:g} and {high:g}; leave out what does not apply")
    if population is not None and len(values) > population:
        raise MetricError(f"{what}: {len(values)} observations of a population of {population}")
    return (values - low) / (high - low)


def _lower_ends(shares: Floats, population: int | None, threshold: float) -> Floats:
    """Return the lower end after each value, along the last axis: against means below it the bets succeed."""
    before = np.cumsum(shares, axis=-1) - shares
    left = np.inf if population is None else population - np.arange(shares.shape[-1])
    ends = np.zeros_like(shares)
    last: Floats = np.full_like(shares, np.inf)
    for mean in np.arange(_STEPS + 1) / _STEPS:
        limits = np.full_like(shares, mean) if population is None else (population * mean - before) / left
        capital = log_capital(shares, limits)
        refused = capital >= threshold
        if not refused.any():
            break
        with np.errstate(invalid="ignore", divide="ignore"):
            further = (capital - threshold) / (last - capital) / _STEPS
        ends[refused] = (mean + np.where(np.isfinite(further), np.minimum(further, 1 / _STEPS), 0.0))[refused]
        last = capital
    if population is not None:
        ends = np.maximum(ends, (before + shares) / population)
    return np.maximum.accumulate(np.minimum(ends, 1.0), axis=-1)


def log_capital(shares: Floats, limits: Floats) -> Floats:
    """Return the logarithm of the capital after each bet that a value exceeds its limit; infinite if it cannot be.

    Parameters
    ----------
    shares : array, shape (..., t)
        Values from 0 to 1.
    limits : array, shape (..., t)
        What the mean of each value, given those before, is at most under the hypothesis.
    """
    fair = np.clip(limits, _ROUNDING, 1.0)
    impossible = (limits < -_ROUNDING) | ((limits <= _ROUNDING) & (shares > _ROUNDING))
    gain = np.where(limits <= _ROUNDING, 0.0, shares / fair - 1)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        capital = sum(np.cumprod(1 + bet * gain, axis=-1) for bet in _BETS) / _BETS.size
        found: Floats = np.log(capital)
    found[np.logical_or.accumulate(impossible, axis=-1)] = np.inf
    return found
