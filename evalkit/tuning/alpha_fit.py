"""Fitting a linear weight to what each weight gives each query; no data set, no retrieval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evalkit.columns import Array
from evalkit.stages.retrieve.alpha import linear

PENALTIES = (math.inf, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Of the sum of the coefficients' sizes, in units of what the choice of a weight makes out; infinite: a constant."""

_COEFFICIENTS = np.arange(-5, 6) / 5
_FEWEST = 20
_MOST_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Sample:
    """What is known of some queries.

    Parameters
    ----------
    grid : float64 array of shape (m,)
        Weights tried: rising, from 0 to 1.
    values : float64 array of shape (n, m)
        What each query has at each weight; more is better.
    features : float64 array of shape (n, f)
    folds : int array of shape (n,)
        For cross-validation.
    """

    grid: Array
    values: Array
    features: Array
    folds: Array

    def take(self, rows: Array) -> Sample:
        """Keep some queries."""
        return Sample(self.grid, self.values[rows], self.features[rows], self.folds[rows])

    def at(self, alphas: Array) -> Array:
        """Return every query's value at a weight of its own, straight between those tried.

        Parameters
        ----------
        alphas : float64 array of shape (..., n)
        """
        place = np.clip(np.searchsorted(self.grid, alphas, side="right") - 1, 0, len(self.grid) - 2)
        part = (alphas - self.grid[place]) / (self.grid[place + 1] - self.grid[place])
        rows = np.arange(len(self.values))
        return np.asarray((1 - part) * self.values[rows, place] + part * self.values[rows, place + 1])


@dataclass(frozen=True)
class Fit:
    """``base + coefficients · features``, cut at 0 and 1."""

    base: float
    coefficients: tuple[float, ...]

    def values(self, sample: Sample) -> Array:
        """Return what queries have at the weights that this gives them."""
        return sample.at(linear(self.base, self.coefficients, sample.features))


def fit(sample: Sample, penalty: float, start: float) -> Fit:
    """Minimise mean loss plus penalty: one coefficient after the other, each together with the constant.

    Features count from their means, so that the constant means the same whatever the coefficients. Loss has corners,
    at which a search for one number at a time would stick. A change must lower it: of equal choices the smallest
    coefficient counts, then the constant nearest to `start`.
    """
    means, width = sample.features.mean(axis=0), sample.features.shape[1]
    centred, coefficients = sample.features - means, np.zeros(width)
    constant = _best(sample, np.zeros(len(centred)), np.zeros(len(centred)), 0.0, start)[1]
    price = penalty * float(np.ptp(sample.values, axis=1).mean()) if math.isfinite(penalty) else 0.0
    for _ in range(_MOST_ROUNDS if math.isfinite(penalty) else 0):
        before = (constant, *coefficients)
        for j in range(width):
            rest = centred @ np.where(np.arange(width) == j, 0.0, coefficients)
            coefficients[j], constant = _best(sample, centred[:, j], rest, price, start)
        if before == (constant, *coefficients):
            break
    base = constant - float(means @ coefficients)
    return Fit(round(base, 6), tuple(map(float, coefficients)))


def _best(sample: Sample, feature: Array, rest: Array, price: float, start: float) -> tuple[float, float]:
    """Return the coefficient of a feature and the constant that are best beside what the others give."""
    steps = _COEFFICIENTS if feature.any() else np.zeros(1)
    pairs = np.array([(step, constant) for step in steps for constant in sample.grid])
    pairs = pairs[np.lexsort((pairs[:, 1], np.abs(pairs[:, 1] - start), pairs[:, 0], np.abs(pairs[:, 0])))]
    weights = np.clip(pairs[:, :1] * feature + pairs[:, 1:] + rest, 0.0, 1.0)
    losses = price * np.abs(pairs[:, 0]) - sample.at(weights).mean(axis=1)
    step, constant = pairs[int(np.argmax(losses <= losses.min() + 1e-12))].tolist()
    return step, constant


def held_out(sample: Sample, penalty: float, start: float) -> Array:
    """Return each query's value at the weight of a fit that did not see its fold."""
    values = np.zeros(len(sample.values))
    for fold in np.unique(sample.folds):
        out = sample.folds == fold
        values[out] = fit(sample.take(~out), penalty, start).values(sample.take(out))
    return values


def choose(sample: Sample, start: float) -> float:
    """Return the largest penalty whose held-out value is within one standard error of the best one's."""
    if len(sample.values) < _FEWEST or len(np.unique(sample.folds)) < 2:
        return math.inf
    values = np.array([held_out(sample, penalty, start) for penalty in PENALTIES])
    lacking = values[int(values.mean(axis=1).argmax())] - values
    within = lacking.mean(axis=1) <= lacking.std(axis=1, ddof=1) / math.sqrt(lacking.shape[1])
    return PENALTIES[int(np.argmax(within))]


def compared(sample: Sample, start: float) -> tuple[Array, Array]:
    """Return each query's value by the best constant and by the chosen fit, both made without its fold."""
    constants, learnt = np.zeros(len(sample.values)), np.zeros(len(sample.values))
    for fold in np.unique(sample.folds):
        out = sample.folds == fold
        rest, left = sample.take(~out), sample.take(out)
        constants[out] = fit(rest, math.inf, start).values(left)
        learnt[out] = fit(rest, choose(rest, start), start).values(left)
    return constants, learnt
