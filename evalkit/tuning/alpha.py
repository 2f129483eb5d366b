"""Learning a hybrid's weight, query by query, from judged queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np

from evalkit import fingerprint
from evalkit.columns import Array
from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.evaluate.run import run
from evalkit.metrics import Metric, parse
from evalkit.metrics.statistics import Comparison, paired
from evalkit.paths import store_dir
from evalkit.stages import Hybrid, LearntAlpha
from evalkit.stages.retrieve.features import QueryFeatures, described
from evalkit.store import DiskStore
from evalkit.sweep import Sweep
from evalkit.tuning.alpha_fit import Sample, choose, compared, fit
from evalkit.types import QUERY, Store
from evalkit.values import Queries
from evalkit.variants import Variant

GRID = tuple(i / 10 for i in range(11))
"""The weights that are tried on every query."""

_FOLDS = 5


@dataclass(frozen=True, eq=False)
class AlphaStudy:
    """What was learnt, and how well that does on queries it was not learnt from.

    Parameters
    ----------
    alpha : LearntAlpha
        Fitted on all queries; a constant where nothing more was found to hold.
    constant : float
        The best constant weight on all queries.
    penalty : float
        Of the coefficients' size, chosen by cross-validation; infinite: a constant.
    queries : tuple of str
        Judged queries, in the order of the rows below.
    grid : tuple of float
        Weights tried.
    values : float64 array of shape (queries, weights)
        The metric of each query at each weight.
    held_out : Comparison
        Paired over queries: the learnt weight (other) against the best constant (baseline). Every query is scored by
        a fit, penalty and constant included, that did not see its fold; so this is an estimate for new queries.
    """

    alpha: LearntAlpha
    constant: float
    penalty: float
    queries: tuple[str, ...]
    grid: tuple[float, ...]
    values: Array
    held_out: Comparison

    @property
    def best(self) -> float:
        """Mean of the metric if every query had its own best weight of the grid: what no rule can exceed."""
        return float(self.values.max(axis=1).mean())


def fit_alpha(
    data: Dataset,
    variant: Variant,
    metric: str | Metric = "nDCG@10",
    *,
    grid: Sequence[float] = GRID,
    seed: int = 0,
    store: Store | None = None,
) -> LearntAlpha:
    """Learn a hybrid's weight from development queries, e.g. ``fit_alpha(data.split("dev"), presets.hybrid())``.

    Parameters
    ----------
    data, variant, metric, grid, seed, store
        As for `study_alpha`, which also says what was gained.

    Returns
    -------
    LearntAlpha
        To be put into the hybrid: ``Hybrid(alpha=...)``.
    """
    return study_alpha(data, variant, metric, grid=grid, seed=seed, store=store).alpha


def study_alpha(
    data: Dataset,
    variant: Variant,
    metric: str | Metric = "nDCG@10",
    *,
    grid: Sequence[float] = GRID,
    seed: int = 0,
    store: Store | None = None,
) -> AlphaStudy:
    """Learn a hybrid's weight from development queries, and estimate by cross-validation what that gains.

    Every query is ranked at every weight of the grid; between two of them its metric is taken to change in a straight
    line. The coefficients of `LearntAlpha` minimise the mean loss of the metric plus a penalty on their sizes,
    found by descent over fifths. The penalty is the largest whose cross-validated metric is within one standard
    error of the best one's, and the largest of all is a constant: with few queries, or features that tell nothing,
    that is the result, and with less than twenty queries always. Among constants as good as one another the one
    nearest to the hybrid's own is taken.

    Parameters
    ----------
    data : Dataset
        Its judged queries are learnt from; keep those that you report on out of it.
    variant : Variant
        Retrieves by a `Hybrid`.
    metric : str or Metric
        Of rankings; more is better.
    grid : sequence of float
        Weights tried: rising, from 0 to 1.
    seed : int
        Of the folds, which depend on queries' ids alone, and of the comparison.
    store : Store, optional
        Default: the project's.

    Raises
    ------
    InputError
        If the variant does not retrieve by a hybrid, the grid does not fit, the metric is not one of rankings or less
        than two queries are judged.

    References
    ----------
    Breiman et al., *Classification and Regression Trees*, 1984, for the rule of one standard error.
    """
    hybrid = variant.retrieve
    metric = parse(metric)
    if not isinstance(hybrid, Hybrid):
        raise InputError(f"fit_alpha: the variant retrieves by {type(hybrid).__name__}; a Hybrid is needed")
    if len(grid) < 2 or (grid[0], grid[-1]) != (0, 1) or not all(low < high for low, high in pairwise(grid)):
        raise InputError(f"fit_alpha: grid {tuple(grid)} does not fit; give rising weights, 0 and 1 among them")
    if metric.needs != "ranking":
        raise InputError(f"fit_alpha: {metric} is no metric of rankings; use nDCG@10, say")
    store = store if store is not None else DiskStore(store_dir())
    start = float(hybrid.alpha) if isinstance(hybrid.alpha, int | float) else 0.7
    names, values = _values(data, variant, metric, tuple(map(float, grid)), seed, store)
    if len(names) < 2:
        raise InputError(f"fit_alpha: data set {data.name} has {len(names)} judged queries; at least 2 are needed")
    features = _features(data, variant, names, seed, store)
    sample = Sample(np.array(grid, dtype=np.float64), values, features, _folds(names, seed))
    penalty = choose(sample, start)
    found = fit(sample, penalty, start)
    constants, learnt = compared(sample, start)
    return AlphaStudy(
        LearntAlpha(found.base, *found.coefficients),
        fit(sample, math.inf, start).base,
        penalty,
        tuple(names),
        tuple(map(float, grid)),
        values,
        paired(constants, learnt, seed=seed),
    )


def _values(
    data: Dataset, variant: Variant, metric: Metric, grid: tuple[float, ...], seed: int, store: Store
) -> tuple[list[str], Array]:
    results = run(Sweep(variant, {"retrieve.alpha": grid}), data, [metric], seed=seed, store=store)
    alphas = {label: found.retrieve.alpha for label, found in results.variants.items()}  # type: ignore[attr-defined]
    rows = results.per_query[results.per_query["metric"] == str(metric)]
    wide = rows.pivot_table(index="query", columns="variant", values="value", observed=True, sort=True)
    labels = {alpha: label for label, alpha in alphas.items() if alpha in grid}
    return [str(name) for name in wide.index], wide[[labels[alpha] for alpha in grid]].to_numpy(dtype=np.float64)


def _features(data: Dataset, variant: Variant, names: Sequence[str], seed: int, store: Store) -> Array:
    context, node = Context(store), described(variant.nodes()["chunks"], QUERY)
    plan = make_plan({"": {"features": node}})
    done = execute(plan, sources(data, seed, store), context)
    found = cast("QueryFeatures", context.whole(done[plan.wanted[""]["features"]].blocks))
    asked = cast("Queries", context.whole(done[QUERY.recipe].blocks))
    rows = {name: i for i, name in enumerate(asked.id)}
    return np.asarray(found.values[[rows[name] for name in names]])


def _folds(names: Sequence[str], seed: int) -> Array:
    """Deal queries out to folds in an order that depends on nothing but the seed and each one's id."""
    order = sorted(range(len(names)), key=lambda i: fingerprint.digest([seed, names[i]]))
    folds = np.zeros(len(names), dtype=np.int64)
    folds[order] = np.arange(len(names)) % _FOLDS
    return folds
