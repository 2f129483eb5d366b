"""A statistic of every cell of a factorial design, measured and resampled on the same requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import Estimate, MetricError
from evalkit.metrics.statistics.resampling import by_cluster, column_sums, finite_matrix, resampled_sums

__all__ = ["Cells", "Term", "cell_means", "cell_quantiles", "combine", "standard_order"]

Floats = NDArray[np.float64]
Term = tuple[str, ...]
RESAMPLES = 5_000


def standard_order(factors: Sequence[str]) -> tuple[Term, ...]:
    """Return the cells as the factors that are on in each, in standard order: (), (A), (B), (A, B), (C), ...

    Without the first they are the terms of the model, main effects and interactions.

    Raises
    ------
    MetricError
        If there is no factor, or one is given twice.
    """
    if not factors or len(set(factors)) < len(factors):
        raise MetricError(f"factorial: factors {list(factors)}; give at least one, each once")
    return tuple(tuple(f for i, f in enumerate(factors) if cell >> i & 1) for cell in range(1 << len(factors)))


@dataclass(frozen=True, eq=False)
class Cells:
    """One statistic of every cell, measured and resampled.

    Parameters
    ----------
    factors : tuple of str
    value : float64 array of shape (2^k,)
        In standard order.
    drawn : float64 array of shape (resamples, 2^k)
        Of the same resamples of the requests in all cells.
    n : int
        Requests.
    groups : int
        Clusters that are drawn as a whole.
    """

    factors: tuple[str, ...]
    value: Floats
    drawn: Floats = field(repr=False)
    n: int
    groups: int

    def of(self, term: Sequence[str]) -> int:
        """Return the place of the cell in which these factors and no others are on."""
        return sum(1 << self.factors.index(factor) for factor in term)


def cell_means(
    values: ArrayLike,
    factors: Sequence[str],
    *,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Cells:
    """Return the mean of every cell.

    Parameters
    ----------
    values : array, shape (n, 2^k)
        A row a request, a column a cell, in standard order.
    factors : sequence of str, length k
    clusters : array, shape (n,), optional
        Labels of requests that belong together (runs of neighbours); whole clusters are drawn.
    seed, resamples : int
        The same seed and number of clusters draw the same resamples, for means and for quantiles.

    Raises
    ------
    MetricError
        If a value is missing or not finite, there is not one column a cell, no resample, or a seed below 0.
    """
    matrix = _checked(values, factors, seed, resamples)
    sums, sizes = by_cluster(matrix, clusters)
    drawn = resampled_sums(np.column_stack([sums, sizes]), seed=seed, resamples=resamples)
    means = column_sums(matrix) / len(matrix)
    return Cells(tuple(factors), means, drawn[:, :-1] / drawn[:, -1:], len(matrix), len(sums))


def cell_quantiles(
    values: ArrayLike,
    q: float,
    factors: Sequence[str],
    *,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Cells:
    """Return a quantile of every cell (type 7 of Hyndman and Fan, NumPy's default); parameters as for `cell_means`.

    Raises
    ------
    MetricError
        As for `cell_means`, and if `q` is outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise MetricError(f"factorial: a quantile lies between 0 and 1, not {q!r}")
    matrix = _checked(values, factors, seed, resamples)
    labels = np.arange(len(matrix)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if len(labels) != len(matrix):
        raise MetricError(f"factorial: {len(labels)} cluster labels for {len(matrix)} requests; give one for each")
    groups = int(labels.max()) + 1
    counts = resampled_sums(np.eye(groups), seed=seed, resamples=resamples).astype(np.int64)
    drawn = np.column_stack([_drawn_quantiles(column, labels, counts, q) for column in matrix.T])
    return Cells(tuple(factors), np.quantile(matrix, q, axis=0), drawn, len(matrix), groups)


def _drawn_quantiles(values: Floats, labels: NDArray[np.intp], counts: NDArray[np.int64], q: float) -> Floats:
    """Return the quantile of each resample: of every value as often as its cluster was drawn."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    upto = np.cumsum(labels[order] == np.arange(counts.shape[1])[:, None], axis=1).T  # of each cluster, so far
    size = counts @ upto[-1]
    place = q * (size - 1.0)
    below = place.astype(np.int64)
    low = ordered[_reached(counts, upto, below)]
    high = ordered[_reached(counts, upto, np.minimum(below + 1, size - 1))]
    return np.asarray(low + (high - low) * (place - below), dtype=np.float64)


def _reached(counts: NDArray[np.int64], upto: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first place by which more than `rank` values were drawn, a resample a row: by bisection."""
    low, high = np.zeros(len(counts), dtype=np.int64), np.full(len(counts), len(upto) - 1)
    while (low < high).any():
        middle = (low + high) // 2
        enough = (counts * upto[middle]).sum(axis=1) > rank
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return low


def _checked(values: ArrayLike, factors: Sequence[str], seed: int, resamples: int) -> Floats:
    if resamples < 1:
        raise MetricError(f"factorial: {resamples} resamples; give at least one")
    if seed < 0:
        raise MetricError(f"factorial: seed is {seed}; give a whole number, 0 or more")
    cells = len(standard_order(factors))
    matrix = finite_matrix(values)
    if matrix.shape[1] != cells:
        raise MetricError(
            f"factorial: {matrix.shape[1]} columns for {len(factors)} factors; give {cells}, one a cell"
        )
    return matrix


def combine(cells: Cells, value: float, drawn: Floats, level: float = 0.95) -> tuple[Estimate, float]:
    """Return a number that is worked out from cells, with its interval, and p for its being zero.

    The interval is that of percentiles of the resamples, at levels widened to what Student's t of so many clusters
    asks for (Hesterberg, What teachers should know about the bootstrap, 2015). p is the level at which it would just
    end at zero, so the two never disagree; its smallest value depends on the number of resamples.

    Parameters
    ----------
    cells : Cells
    value : float
        From ``cells.value``.
    drawn : array of shape (resamples,)
        The same from ``cells.drawn``.
    level : float

    Raises
    ------
    MetricError
        If `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise MetricError(f"factorial: level is {level}; it is between 0 and 1")
    from scipy.stats import norm, t

    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not known.size:
        return Estimate(float("nan"), -np.inf, np.inf, cells.n, "undefined", level), 1.0
    if cells.groups < 2:
        return Estimate(value, -np.inf, np.inf, cells.n, "no interval from one cluster", level), 1.0
    widened = np.sqrt(cells.groups / (cells.groups - 1))
    tail = float(norm.cdf(-t.ppf((1 + level) / 2, cells.groups - 1) * widened))
    low, high = np.quantile(known, [tail, 1 - tail])
    beyond = (min((known <= 0).sum(), (known >= 0).sum()) + 1) / (known.size + 1)
    z = float(norm.isf(min(0.5, beyond)))
    p = 2 * float(t.sf(z / widened, cells.groups - 1))
    method = f"expanded, {cells.groups} clusters, {known.size} resamples"
    return Estimate(value, min(value, float(low)), max(value, float(high)), cells.n, method, level), p
