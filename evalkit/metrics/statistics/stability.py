"""How often the winner would win again, on other queries of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import MetricError
from evalkit.metrics.statistics.resampling import bootstrap_means

__all__ = ["Stability", "pareto_front", "pareto_stability", "rank_stability"]

Floats = NDArray[np.float64]
_SURE = 0.95  # share of resamples from which on a winner is called stable


@dataclass(frozen=True, eq=False)
class Stability:
    """Stability of a choice between variants.

    Parameters
    ----------
    shares : NDArray[float64], shape (variants,)
        Share of resamples in which each variant is best (ties shared out), or on the Pareto front.
    best : tuple of int
        The best variant, or the front, on the data itself.
    optimism : float
        How much better the best of the variants looks on the data it was chosen on than it is (bootstrap
        estimate, in the metric's unit, never negative); nan for a front.
    warning : str
        What to keep in mind when the winner is reported; empty when there is only one variant.
    """

    shares: Floats
    best: tuple[int, ...]
    optimism: float
    warning: str


def rank_stability(
    values: ArrayLike,
    *,
    higher_is_better: bool = True,
    seed: int = 0,
    resamples: int = 10_000,
    clusters: ArrayLike | None = None,
) -> Stability:
    """Return in what share of bootstrap resamples each variant has the best mean.

    Parameters
    ----------
    values : array, shape (variants, queries)
        One value for each variant and query, queries in the same order.
    higher_is_better : bool
        Direction of the metric.
    seed, resamples, clusters
        As for `bootstrap_means`.

    Raises
    ------
    MetricError
        If values are missing or not finite.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2:
        raise MetricError(f"values of shape {matrix.shape}; give (variants, queries)")
    gains = matrix if higher_is_better else -matrix
    drawn = bootstrap_means(gains.T, seed=seed, resamples=resamples, clusters=clusters)
    best = drawn.max(axis=1, keepdims=True)
    first = drawn >= best - 1e-12 * np.abs(best)  # equal variants differ by rounding only
    means = gains.mean(axis=1)
    winner = int(means.argmax())
    picked = drawn.argmax(axis=1)
    optimism = max(0.0, float((drawn[np.arange(resamples), picked] - means[picked]).mean()))
    shares = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return Stability(shares, (winner,), optimism, _warning(shares[winner], len(matrix), optimism))


def _warning(share: float, variants: int, optimism: float) -> str:
    if variants < 2:
        return ""
    text = f"best of {variants} on the data it was chosen on: expect {optimism:.3g} less on other queries"
    return text if share >= _SURE else f"{text}; it is best in only {share:.0%} of resamples"


def pareto_stability(
    objectives: ArrayLike,
    *,
    higher_is_better: Sequence[bool],
    seed: int = 0,
    resamples: int = 10_000,
    clusters: ArrayLike | None = None,
) -> Stability:
    """Return in what share of bootstrap resamples each variant is on the Pareto front.

    Parameters
    ----------
    objectives : array, shape (variants, objectives, queries)
        Such as quality, latency and cost of each query.
    higher_is_better : sequence of bool, length objectives
        Direction of each objective.
    seed, resamples, clusters
        As for `bootstrap_means`.

    Raises
    ------
    MetricError
        If shapes disagree or values are not finite.
    """
    cube = np.asarray(objectives, dtype=np.float64)
    if cube.ndim != 3 or cube.shape[1] != len(higher_is_better):
        raise MetricError(f"objectives of shape {cube.shape}; give (variants, objectives, queries) and directions")
    signs = np.where(higher_is_better, 1.0, -1.0)
    gains = cube * signs[:, None]
    variants, kinds, queries = gains.shape
    drawn = bootstrap_means(gains.reshape(-1, queries).T, seed=seed, resamples=resamples, clusters=clusters).reshape(
        resamples, variants, kinds
    )
    shares = pareto_front(drawn).mean(axis=0)
    front = tuple(np.flatnonzero(pareto_front(gains.mean(axis=2))).tolist())
    shaky = [str(i) for i in front if shares[i] < _SURE]
    warning = f"on the front by chance in part: variants {', '.join(shaky)}" if shaky else ""
    return Stability(shares, front, float("nan"), warning)


def pareto_front(gains: ArrayLike) -> NDArray[np.bool_]:
    """Return which variants no other variant dominates: at least as good in all, better in one.

    Parameters
    ----------
    gains : array, shape (..., variants, objectives)
        Higher is better in every objective.

    Returns
    -------
    NDArray[bool], shape (..., variants)
    """
    points = np.asarray(gains, dtype=np.float64)
    front = np.ones(points.shape[:-1], dtype=np.bool_)
    for rival in range(points.shape[-2]):
        other = points[..., rival : rival + 1, :]
        front &= ~((other >= points).all(axis=-1) & (other > points).any(axis=-1))
    return front
