"""How far two judges agree beyond chance: Cohen's kappa and its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import Estimate, MetricError
from evalkit.metrics.statistics.proportions import beta_bounds
from evalkit.metrics.statistics.resampling import by_cluster, resampled_sums

__all__ = ["Agreement", "kappa"]

Floats = NDArray[np.float64]
Weights = Literal["none", "linear", "quadratic"]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two judges of the same items.

    Parameters
    ----------
    kappa : Estimate
        Cohen's kappa: 1 for perfect agreement, 0 for as much as chance gives, negative for less. nan where both
        judges gave everything one and the same label: nothing can be said then.
    observed, expected : float
        Share of agreement that was seen, and that chance gives with these margins; weighted if kappa is.
    categories : tuple
        Labels, in the order of `table`.
    table : array of int, shape (categories, categories)
        Items by the first judge's label (rows) and the second's.
    """

    kappa: Estimate
    observed: float
    expected: float
    categories: tuple[Hashable, ...]
    table: NDArray[np.int64]


def kappa(
    first: Sequence[Hashable] | ArrayLike,
    second: Sequence[Hashable] | ArrayLike,
    *,
    categories: Sequence[Hashable] | None = None,
    weights: Weights | ArrayLike = "none",
    clusters: ArrayLike | None = None,
    method: Literal["analytic", "bootstrap"] = "analytic",
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> Agreement:
    """Cohen's kappa of two judges, with its interval.

    ``kappa = (po - pe) / (1 - pe)``, po the (weighted) share of agreement, pe what the judges' own margins give by
    chance.

    Parameters
    ----------
    first, second : sequence, length n
        Labels of the same items by two judges.
    categories : sequence, optional
        All labels, in order where they are ordinal; default: those that occur, sorted.
    weights : {"none", "linear", "quadratic"} or array, shape (categories, categories)
        How much each pair of labels agrees: 1 for equal ones and otherwise 0; 1 - |i - j| / (c - 1); 1 - (i - j)² /
        (c - 1)²; or your own.
    clusters : array, shape (n,), optional
        Labels of items that belong together (one query's answers by several systems). The interval is then a
        bootstrap of whole clusters.
    method : {"analytic", "bootstrap"}
        From the large-sample variance, or from quantiles of 10,000 resamples of the items.
    level : float
    seed, resamples : int
        Of the bootstrap.

    Raises
    ------
    MetricError
        If there is no item, lengths differ, a label is not among the categories, or weights do not fit.

    Notes
    -----
    Where the judges never disagree the variance is estimated as 0. The interval then comes from Clopper-Pearson's
    for the share of agreement, chance agreement taken as observed: eight agreements of eight are no proof. Where one
    judge gave one label only, kappa is 0 whatever the other says, and its interval is all of [-1, 1]. With few
    items the large-sample interval is too narrow and is cut at -1 and 1; kappa depends on how common each label is,
    so look at the table too (Feinstein and Cicchetti, 1990).

    References
    ----------
    Cohen, A coefficient of agreement for nominal scales, 1960; Cohen, Weighted kappa, 1968; Fleiss, Cohen and
    Everitt, Large sample standard errors of kappa and weighted kappa, 1969 (the variance).
    """
    rows, columns, names = _coded(first, second, categories)
    size = len(names)
    agree = _weights(weights, size)
    cells = np.zeros((rows.size, size * size))
    cells[np.arange(rows.size), rows * size + columns] = 1.0
    counts = cells.sum(axis=0).reshape(size, size)
    observed, expected, value = (float(x[0]) for x in _kappas(counts.reshape(1, -1), agree))
    if method not in ("analytic", "bootstrap"):
        raise MetricError(f"kappa: unknown method {method!r}; use analytic or bootstrap")
    if not 0 < level < 1:
        raise MetricError(f"kappa: level must lie between 0 and 1, not {level!r}")
    n = rows.size
    if np.isnan(value):
        estimate = Estimate(value, -1.0, 1.0, n, "undefined: one label only", level)
    elif 1 in (np.count_nonzero(counts.sum(axis=0)), np.count_nonzero(counts.sum(axis=1))):
        estimate = Estimate(value, -1.0, 1.0, n, "no interval: one judge gave one label only", level)
    elif (agree[counts > 0] == agree.max()).all():
        groups = n if clusters is None else int(np.unique(np.asarray(clusters)).size)
        low = (beta_bounds(groups, groups, level)[0] - expected) / (1 - expected)
        estimate = Estimate(value, max(low, -1.0), 1.0, n, "no disagreement seen: Clopper-Pearson", level)
    elif method == "bootstrap" or clusters is not None:
        drawn = resampled_sums(by_cluster(cells, clusters)[0], seed=seed, resamples=resamples)
        sample = _kappas(drawn, agree)[2]
        known = sample[~np.isnan(sample)]
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        gone = f", {resamples - known.size} undefined" if known.size < resamples else ""
        what = "items" if clusters is None else "clusters"
        estimate = Estimate(
            value, float(low), float(high), n, f"bootstrap of {what}, {resamples} resamples{gone}", level
        )
    else:
        from scipy.stats import norm

        half = float(norm.ppf((1 + level) / 2)) * _standard_error(counts, agree)
        estimate = Estimate(value, max(value - half, -1.0), min(value + half, 1.0), n, "Fleiss-Cohen-Everitt", level)
    return Agreement(estimate, observed, expected, names, counts.astype(np.int64))


def _coded(
    first: Any, second: Any, categories: Sequence[Hashable] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Hashable, ...]]:
    """Return both judges' labels as places in the categories."""
    left, right = ([x.item() if hasattr(x, "item") else x for x in labels] for labels in (first, second))
    if len(left) != len(right) or not left:
        raise MetricError(f"kappa: {len(left)} and {len(right)} labels; give both judges' labels of the same items")
    try:
        names = tuple(categories) if categories is not None else tuple(sorted({*left, *right}))
    except TypeError:
        raise MetricError("kappa: give labels of one kind, or their order as categories=") from None
    place = {name: i for i, name in enumerate(names)}
    odd = next((label for label in (*left, *right) if label not in place), None)
    if odd is not None or len(place) < len(names):
        raise MetricError(f"kappa: label {odd!r} is not among the categories, or one is given twice: {names!r}")
    rows, columns = (np.array([place[label] for label in labels], dtype=np.int64) for labels in (left, right))
    return rows, columns, names


def _weights(weights: Weights | ArrayLike, size: int) -> Floats:
    """Return how much each pair of categories agrees."""
    i, j = np.indices((size, size))
    apart = np.abs(i - j) / max(size - 1, 1)
    if isinstance(weights, str):
        known: dict[str, Floats] = {"none": (i == j).astype(float), "linear": 1 - apart, "quadratic": 1 - apart**2}
        if weights not in known:
            raise MetricError(f"kappa: weights must be none, linear, quadratic or an array, not {weights!r}")
        return known[weights]
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (size, size) or not np.isfinite(given).all():
        raise MetricError(f"kappa: weights of shape {given.shape} for {size} categories; give one for each pair")
    return given


def _kappas(counts: Floats, agree: Floats) -> tuple[Floats, Floats, Floats]:
    """Return observed and expected agreement and kappa of each table of counts, shape (tables, categories²)."""
    size = agree.shape[0]
    shares = (counts / counts.sum(axis=1, keepdims=True)).reshape(-1, size, size)
    observed = (shares * agree).sum(axis=(1, 2))
    expected = np.einsum("ti,ij,tj->t", shares.sum(axis=2), agree, shares.sum(axis=1))
    most = agree.max()
    beyond = most - expected
    defined = beyond > 1e-12
    value = np.divide(observed - expected, beyond, out=np.full_like(observed, np.nan), where=defined)
    return observed, expected, value


def _standard_error(counts: Floats, agree: Floats) -> float:
    """Return the large-sample standard error of (weighted) kappa."""
    shares = counts / counts.sum()
    scaled = agree / agree.max()
    first, second = shares.sum(axis=1), shares.sum(axis=0)
    observed, expected = float((shares * scaled).sum()), float(first @ scaled @ second)
    margins = (scaled @ second)[:, None] + (first @ scaled)[None, :]
    influence = scaled * (1 - expected) - margins * (1 - observed)
    mean = float((shares * influence).sum())
    variance = float((shares * (influence - mean) ** 2).sum()) / counts.sum() / (1 - expected) ** 4
    return float(np.sqrt(variance))
