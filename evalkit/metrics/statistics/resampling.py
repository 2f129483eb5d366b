"""Resampling by matrix products: random weights times values.

A bootstrap resample is a row of counts, a randomisation a row of signs. Drawn in blocks that fit the cache
and multiplied with all metrics or variants at once, each draw is paid for only once. Values are first rounded
to fixed point, so that every sum is an exact integer below 2^53: neither threads nor the order in which a
BLAS adds can change a digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import MetricError

__all__ = ["bootstrap_means", "randomisation_p"]

Floats = NDArray[np.float64]
ROUNDING = 1e-12
"""Relative size below which a difference of floats is none."""

_BLOCK = 1 << 17  # weights drawn at once: few enough that BLAS starts no threads to wait for one another
_WIDE_BLOCK = 1 << 20  # for many columns, where threads earn their keep
_WIDE = 16
_TIE_BITS = 32  # a unit far above rounding in the values, far below what matters to a p-value


def finite_matrix(values: ArrayLike, what: str = "values") -> Floats:
    """Return `values` as a float64 matrix of observations by columns.

    Raises
    ------
    MetricError
        If there is none, or one is NaN or infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    matrix = array[:, None] if array.ndim == 1 else array
    if matrix.ndim != 2 or matrix.shape[0] == 0:
        raise MetricError(f"{what} of shape {array.shape}; give at least one observation")
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise MetricError(f"{what}: observation {row} is not finite; leave out what does not apply")
    return matrix


def column_sums(matrix: Floats) -> Floats:
    """Return the sum of each column, the same to the bit whatever columns stand beside it."""
    sums: Floats = np.ascontiguousarray(matrix.T).sum(axis=1)
    return sums


def fixed_point(matrix: Floats, most_bits: int = 51) -> tuple[Floats, Floats]:
    """Return whole numbers and the scale of each column that gives the values back.

    The numbers are so small that weighted sums over all rows stay below 2^53 as long as the weights of a row
    sum to at most twice the number of rows. The rounding is below 2^-35 of a column's largest value for up to
    100,000 rows; with `most_bits` it is coarser.
    """
    bits = min(most_bits, 51 - int(matrix.shape[0]).bit_length())
    largest = np.abs(matrix).max(axis=0)
    scale: Floats = np.ldexp(1.0, np.maximum(np.frexp(largest)[1] - bits, -1000))  # subnormal values count as 0
    return np.rint(matrix / scale), scale


def by_cluster(matrix: Floats, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """Return the sums of each cluster and their sizes; without clusters every row is its own.

    Raises
    ------
    MetricError
        If there is not one cluster label for each observation.
    """
    if clusters is None:
        return matrix, np.ones(matrix.shape[0])
    labels = np.asarray(clusters)
    if labels.shape != matrix.shape[:1]:
        raise MetricError(f"{labels.size} cluster labels for {matrix.shape[0]} observations")
    _, codes = np.unique(labels, return_inverse=True)
    sums = np.stack([np.bincount(codes, weights=column) for column in matrix.T], axis=1)
    return sums.astype(np.float64), np.bincount(codes).astype(np.float64)


def resampled_sums(columns: Floats, *, seed: int, resamples: int) -> Floats:
    """Return column sums of bootstrap resamples of the rows (Efron, 1979). Shape (resamples, columns).

    Rows are drawn with replacement, as many as there are: exact multinomial counts, obtained by counting
    uniform draws. 10,000 resamples of 10,000 rows take about half a second, nearly all of it drawing.
    """
    whole, scale = fixed_point(columns)
    out = np.empty((resamples, columns.shape[1]))
    block = _BLOCK if columns.shape[1] <= _WIDE else _WIDE_BLOCK
    for start, counts in resampled_counts(columns.shape[0], seed, resamples, block):
        out[start : start + counts.shape[0]] = counts @ whole
    return out * scale


def resampled_counts(n: int, seed: int, resamples: int, block: int) -> Iterator[tuple[int, Floats]]:
    """Yield multinomial counts, shape (some, n); the size of a block does not change them."""
    rng = np.random.default_rng([seed, n])
    rows = max(1, block // n)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, n, size=(size, n), dtype=np.int64)
        drawn += np.arange(size)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=size * n)
        yield start, counts.reshape(size, n).astype(np.float64)


def bootstrap_means(
    values: ArrayLike, *, seed: int = 0, resamples: int = 10_000, clusters: ArrayLike | None = None
) -> Floats:
    """Return the column means of bootstrap resamples.

    Parameters
    ----------
    values : array, shape (n,) or (n, columns)
        Observations (queries) by columns (metrics, variants); all columns share the resamples.
    seed : int
        Same seed and n, same resamples.
    resamples : int
        How many.
    clusters : array, shape (n,), optional
        Labels; whole clusters are then drawn, and a mean is the ratio of sums to sizes.

    Returns
    -------
    NDArray[float64], shape (resamples, columns)

    Raises
    ------
    MetricError
        If values are missing or not finite, or labels do not fit.
    """
    sums, sizes = by_cluster(finite_matrix(values), clusters)
    drawn = resampled_sums(np.column_stack([sums, sizes]), seed=seed, resamples=resamples)
    means: Floats = drawn[:, :-1] / drawn[:, -1:]
    return means


def randomisation_p(
    differences: ArrayLike, *, seed: int = 0, resamples: int = 10_000, clusters: ArrayLike | None = None
) -> Floats:
    """Two-sided p-value of Fisher's randomisation test that paired differences are symmetric about zero.

    The sign of each difference (with clusters, of all differences of a cluster) is flipped at random; p is
    (b + 1) / (B + 1), b the number of the B flips whose sum is at least as far from zero as the observed one.
    The test is valid at every n, and its smallest p is 1 / (B + 1), or about 2^(1 - n) for few observations:
    with fewer than 6 it cannot reach 0.05.

    Parameters
    ----------
    differences : array, shape (n,) or (n, columns)
        Other minus baseline. All columns share the flips.
    seed, resamples, clusters
        As for `bootstrap_means`.

    Returns
    -------
    NDArray[float64], shape (columns,)

    References
    ----------
    Fisher, The design of experiments, 1935; Smucker, Allan and Carterette, CIKM 2007; Phipson and Smyth,
    Permutation p-values should never be zero, 2010.
    """
    sums, _ = by_cluster(finite_matrix(differences, "differences"), clusters)
    whole, _ = fixed_point(sums, most_bits=_TIE_BITS)
    n = whole.shape[0]
    total = whole.sum(axis=0)
    observed = np.abs(total) - n  # sums that are equal in decimals differ by up to half a unit for each term
    rng = np.random.default_rng([seed, n])
    beyond = np.zeros(whole.shape[1], dtype=np.int64)
    rows = max(1, _BLOCK // n)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes((size * n + 7) // 8), dtype=np.uint8), count=size * n)
        flipped = bits.reshape(size, n).astype(np.float64) @ whole
        beyond += (np.abs(total - 2.0 * flipped) >= observed).sum(axis=0)
    p: Any = (beyond + 1) / (resamples + 1)
    return np.asarray(p, dtype=np.float64)
