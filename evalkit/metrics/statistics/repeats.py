"""Items measured several times over: their mean, the noise of the measuring, and bounds where some of it failed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import Estimate, MetricError
from evalkit.metrics.statistics.intervals import mean_interval
from evalkit.metrics.statistics.proportions import beta_bounds

__all__ = ["filled_mean", "repeat_noise", "repeated_mean"]

Floats = NDArray[np.float64]


def repeated_mean(values: ArrayLike, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """Return the mean over items of each item's mean over its repeats, and its interval.

    Whole items are drawn. Repeats of different items are independent, so the spread of the items' means holds both
    parts of the uncertainty: the items' own spread, and the noise of measuring divided by the repeats.

    Parameters
    ----------
    values : array, shape (items, repeats)
        nan where a repeat gave no value; an item without any is left out, and `n` says how many were not.
    seed : int
    level : float

    Returns
    -------
    Estimate
        nan between infinite ends where no item has a value.

    References
    ----------
    Davison and Hinkley, Bootstrap methods and their application, 1997, section 3.8 (hierarchical data).
    """
    matrix = _matrix(values)
    known = ~np.isnan(matrix)
    kept = known.any(axis=1)
    if not kept.any():
        return Estimate(math.nan, -math.inf, math.inf, 0, "undefined: no value", level)
    sums = np.where(known, matrix, 0.0)[kept].sum(axis=1)
    return mean_interval(sums / known[kept].sum(axis=1), seed=seed, level=level)


def repeat_noise(values: ArrayLike, *, scale: float = 1.0, seed: int = 0, level: float = 0.95) -> Estimate:
    """Return the standard deviation of repeated measurements of one item, pooled over the items.

    The root of the mean of the items' variances (the within-group mean square of a one-way analysis of variance,
    where all have as many repeats); the interval is that of the mean variance, items being resampled, under the root.

    Parameters
    ----------
    values : array, shape (items, repeats)
        nan where a repeat gave no value; items with fewer than two are left out.
    scale : float
        Largest possible difference of two values. It matters only where no repeat ever differed: so many equal items
        do not say that none can differ. The upper end is then the largest variance that repeats on this scale can
        have, times the upper end of the share of items that have any (Clopper-Pearson).
    seed : int
    level : float

    Returns
    -------
    Estimate
        nan between 0 and infinity where no item has two values.

    References
    ----------
    Bland and Altman, Measurement error, BMJ 1996 (the within-subject standard deviation).
    """
    matrix = _matrix(values)
    known = ~np.isnan(matrix)
    counts = known.sum(axis=1)
    kept = counts > 1
    if not kept.any():
        return Estimate(math.nan, 0.0, math.inf, 0, "undefined: nothing was measured twice", level)
    filled, many = np.where(known, matrix, 0.0)[kept], counts[kept]
    means = filled.sum(axis=1) / many
    squares = np.where(known[kept], (filled - means[:, None]) ** 2, 0.0).sum(axis=1)
    if not squares.any():
        repeats = int(many.min())
        largest = scale**2 * (repeats // 2) * (repeats - repeats // 2) / (repeats * (repeats - 1))
        share = beta_bounds(0, many.size, level)[1]
        return Estimate(0.0, 0.0, math.sqrt(largest * share), many.size, "no repeat differed: Clopper-Pearson", level)
    found = mean_interval(squares / (many - 1), seed=seed, level=level, method="expanded")
    value, low, high = (math.sqrt(max(end, 0.0)) for end in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n, f"root of the mean variance: {found.method}", level)


def filled_mean(values: ArrayLike, failed: ArrayLike, fill: float, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """Return the mean as `repeated_mean` does, every failed repeat counting as `fill`.

    With the ends of the scale these are the bounds between which the mean lies whatever the failed ones would have
    been (Manski, Nonparametric bounds on treatment effects, 1990).

    Parameters
    ----------
    values : array, shape (items, repeats)
    failed : array of bool, shape (items, repeats)
    fill : float
    """
    matrix = _matrix(values)
    lost = np.asarray(failed, dtype=np.bool_)
    if lost.shape != matrix.shape:
        raise MetricError(f"failed has shape {lost.shape}, the values {matrix.shape}; give one for each")
    return repeated_mean(np.where(lost, fill, matrix), seed=seed, level=level)


def _matrix(values: ArrayLike) -> Floats:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.shape[1] or np.isinf(matrix).any():
        raise MetricError(f"values of shape {matrix.shape}; give finite ones (or nan), items by repeats")
    return matrix
