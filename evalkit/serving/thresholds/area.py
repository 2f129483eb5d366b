"""The curve of hits against wrong answers, as one number, and one curve compared with others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics import Estimate
from evalkit.metrics.statistics import holm
from evalkit.metrics.statistics.resampling import resampled_sums
from evalkit.serving.layers.semantic import Guard
from evalkit.serving.semantic.decisions import Threshold
from evalkit.serving.thresholds.clusters import check_draws, labels_of
from evalkit.serving.thresholds.swept import ThresholdSweep, same_requests
from evalkit.serving.thresholds.tables import chosen

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
BUDGET = 0.05
RESAMPLES = 5_000


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """Precision and wrong answers against the hit rate, as the threshold falls.

    Every threshold is a cache of its own, whose misses made its entries: a lower one may hit less often, or be wrong
    less often, than a higher one. So the curve goes through thresholds as they fall, and stands at the highest hit
    rate and the highest share of wrong answers so far: a threshold that hits no more than a stricter one adds
    nothing. Steps are summed, not interpolated. Where the entries do not depend on the threshold, `area` is that of
    `evalkit.metrics.precision_hit_rate_curve`.

    Intervals are of the bootstrap over clusters (expanded percentiles, as in `mean_intervals`): the decisions of the
    whole traffic are drawn, not made again.

    Parameters
    ----------
    sweep : ThresholdSweep
    settings : tuple of int
        Positions of the curve's thresholds, from the strictest to the laxest.
    where, clusters : arrays of shape (n,)
        Which requests were looked at, and what was drawn together.
    thresholds, hit_rate, precision, served_wrong : float64 arrays, one element a threshold
        Cosines; hits, right ones among them, and wrong ones among all answers. Of the requests that can be judged.
    area : Estimate
        Sum of precision times the rise of the hit rate, up to a hit rate of `up_to`.
    hits_within : Estimate
        The hit rate that the curve has reached before it leaves a budget of wrong answers, averaged over all budgets
        from 0 to `budget`. It does not change with the scale of an embedder's similarities.
    up_to, budget : float
    """

    sweep: ThresholdSweep = field(repr=False)
    settings: tuple[int, ...]
    where: Array = field(repr=False)
    clusters: Array = field(repr=False)
    thresholds: Floats
    hit_rate: Floats
    precision: Floats
    served_wrong: Floats
    area: Estimate
    hits_within: Estimate
    up_to: float
    budget: float


def threshold_curve(
    sweep: ThresholdSweep,
    *,
    guard: Guard | Literal["any"] = "any",
    ttl: float | Literal["any"] | None = "any",
    where: Array | None = None,
    up_to: float = 1.0,
    budget: float = BUDGET,
    clusters: Array | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> ThresholdCurve:
    """Return the curve of a sweep's thresholds, the area under it, and the hits within a budget of wrong answers.

    Parameters
    ----------
    sweep : ThresholdSweep
    guard, ttl : optional
        Which of the sweep's; they may be left out where there is one.
    where : bool array of shape (n,), optional
        Only these requests.
    up_to : float
        Hit rate up to which the area is summed. The reach of a curve ends with the lowest threshold that was swept.
    budget : float
        Highest share of wrong answers among all.
    clusters : array of shape (n,), optional
        What is drawn together. Default: `intents`.
    seed, resamples : int
    level : float
        Of the intervals.

    Raises
    ------
    InputError
        If no curve is meant, or several, nothing can be judged, or a parameter is none.
    """
    if not (0 < up_to <= 1 and 0 < budget <= 1):
        raise InputError(f"threshold_curve: up_to {up_to} and budget {budget} are shares, above 0 and up to 1")
    check_draws("threshold_curve", seed=seed, level=level, resamples=resamples)
    settings, mask = settings_of(sweep, guard, ttl), chosen(sweep, where)
    labels = labels_of(sweep, clusters, "threshold_curve")
    if not (sweep.judged[list(settings)] & mask).any(axis=1).all():
        raise InputError("threshold_curve: no request can be judged; give traffic with intents")
    sums = _sums(sweep, settings, mask, labels)
    seen, drawn = _curve(sums.sum(axis=0)[None]), _curve(resampled_sums(sums, seed=seed, resamples=resamples))
    area, within = (
        _estimate(measure(*seen, bound)[0], measure(*drawn, bound), len(sums), int(mask.sum()), level)
        for measure, bound in ((_area, up_to), (_hits_within, budget))
    )
    thresholds = np.array([sweep.settings[i].rule.least_cosine for i in settings])  # type: ignore[union-attr]
    hit_rate, precision, wrong = (points[0] for points in seen)
    return ThresholdCurve(
        sweep, settings, mask, labels, thresholds, hit_rate, precision, wrong, area, within, up_to, budget
    )


def settings_of(
    sweep: ThresholdSweep, guard: Guard | Literal["any"] = "any", ttl: float | Literal["any"] | None = "any"
) -> tuple[int, ...]:
    """Return the positions of all plain thresholds of one guard and TTL, from the strictest to the laxest.

    Raises
    ------
    InputError
        If there is none, or there are several guards or TTLs.
    """
    found = [
        (-one.rule.least_cosine, i)
        for i, one in enumerate(sweep.settings)
        if isinstance(one.rule, Threshold) and guard in ("any", one.guard) and ttl in ("any", one.ttl)
    ]
    lines = sorted({f"guard {s.guard}, ttl {s.ttl}" for s in (sweep.settings[i] for _, i in found)})
    if len(lines) != 1:
        raise InputError(
            f"threshold_curve: guard {guard}, ttl {ttl} name {len(lines)} curves"
            f"{': ' + '; '.join(lines) if lines else ''}; name one of the sweep's guards and TTLs"
        )
    return tuple(i for _, i in sorted(found))


def compare_areas(
    base: ThresholdCurve,
    others: Mapping[str, ThresholdCurve],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare curves of one traffic with a base: of another embedder, guard or TTL.

    Paired: each draw of clusters is taken for all curves. Areas are summed up to the hit rate that all curves reach,
    in the draw too, and divided by it: so none gains by thresholds that were swept further down.

    Parameters
    ----------
    base : ThresholdCurve
        Its requests, clusters and `budget` are those of the comparison.
    others : {name: ThresholdCurve}
    seed, resamples : int
    level : float

    Returns
    -------
    DataFrame
        Two rows each: ``precision``, the mean over all hit rates up to the common reach, and ``hits_within`` the
        budget. ``other``, ``measure``, ``bound`` (the common reach, or the budget), the values of ``base`` and
        ``other_value``, ``difference`` (other less base) with ``low`` and ``high``, ``p``
        (two-sided, of the bootstrap), ``p_corrected`` (Holm, over the others), ``verdict``: better, worse or
        inconclusive.

    Raises
    ------
    InputError
        If the curves are of different traffic, or a number is out of range.
    """
    import pandas as pd

    check_draws("compare_areas", seed=seed, level=level, resamples=resamples)
    for name, other in others.items():
        if not same_requests(other.sweep, base.sweep):
            raise InputError(f"compare_areas: '{name}' is of other traffic; sweep the same requests")
    curves = [base, *others.values()]
    sums = [_sums(curve.sweep, curve.settings, base.where, base.clusters) for curve in curves]
    ends = np.cumsum([0, *(one.shape[1] for one in sums)])
    drawn = resampled_sums(np.hstack(sums), seed=seed, resamples=resamples)
    seen = [_curve(one.sum(axis=0)[None]) for one in sums]
    parts = [_curve(drawn[:, a:b]) for a, b in pairwise(ends.tolist())]
    bounds = {"precision": _reach(seen), "hits_within": np.full((1, 1), base.budget)}
    measures = {
        "precision": (_precision(seen), _precision(parts)),
        "hits_within": tuple([_hits_within(*one, base.budget) for one in of] for of in (seen, parts)),
    }
    rows = []
    for words, (values, draws) in measures.items():
        first, *rest = (float(value[0]) for value in values)
        for name, value, own in zip(others, rest, draws[1:], strict=True):
            apart = own - draws[0]
            e = _estimate(value - first, apart, len(sums[0]), int(base.where.sum()), level)
            below, above = (int((sign * apart >= 0).sum()) + 1 for sign in (-1, 1))
            p = min(1.0, 2 * min(below, above) / (resamples + 1))
            rows.append((name, words, float(bounds[words][0, 0]), first, value, e.value, e.low, e.high, p))
    columns = ["other", "measure", "bound", "base", "other_value", "difference", "low", "high", "p"]
    found = pd.DataFrame(rows, columns=columns)
    found["p_corrected"] = found.groupby("measure", sort=False)["p"].transform(holm)
    clear = (found["p_corrected"] < 1 - level) & ((found["low"] > 0) | (found["high"] < 0))
    found["verdict"] = np.where(~clear, "inconclusive", np.where(found["difference"] > 0, "better", "worse"))
    return found


def _sums(sweep: ThresholdSweep, settings: Sequence[int], where: Array, clusters: Array) -> Floats:
    """Return, by cluster, the judged requests, hits and wrong ones of each setting: shape (clusters, 3 s)."""
    codes = np.unique(clusters[where], return_inverse=True)[1]
    judged, wrong = (getattr(sweep, name)[list(settings)][:, where] for name in ("judged", "wrong"))
    rows = np.concatenate([judged, judged & sweep.hit[list(settings)][:, where], wrong])
    return np.stack([np.bincount(codes, weights=row) for row in rows], axis=1)


def _curve(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Return hit rate, precision and share of wrong answers, from sums of shape (draws, 3 s)."""
    judged, hits, wrong = np.split(sums, 3, axis=1)
    return _ratio(hits, judged), np.where(hits > 0, 1 - _ratio(wrong, hits), math.nan), _ratio(wrong, judged)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _reach(curves: Sequence[tuple[Floats, Floats, Floats]]) -> Floats:
    """Return the highest hit rate that all curves reach, in each draw: shape (draws, 1)."""
    reached = np.stack([hit_rate.max(axis=1) for hit_rate, _, _ in curves])
    return np.asarray(reached.min(axis=0)[:, None])


def _precision(curves: Sequence[tuple[Floats, Floats, Floats]]) -> list[Floats]:
    """Return the mean precision of each curve up to what all of them reach; 0 where one has no hit."""
    reach = _reach(curves)
    return [_ratio(_area(*one, reach), reach[:, 0]) for one in curves]


def _area(hit_rate: Floats, precision: Floats, served_wrong: Floats, up_to: float | Floats) -> Floats:
    reached = np.maximum.accumulate(np.minimum(hit_rate, up_to), axis=1)
    rise = np.diff(reached, axis=1, prepend=0.0)
    return np.asarray((np.where(rise > 0, precision, 0.0) * rise).sum(axis=1))


def _hits_within(hit_rate: Floats, precision: Floats, served_wrong: Floats, budget: float) -> Floats:
    reached = np.maximum.accumulate(hit_rate, axis=1)
    spent = np.minimum(np.maximum.accumulate(served_wrong, axis=1), budget)
    return np.asarray((reached * np.diff(spent, axis=1, append=budget)).sum(axis=1) / budget)


def _estimate(value: float, draws: Floats, groups: int, n: int, level: float) -> Estimate:
    from scipy.stats import norm, t

    if groups < 2:
        return Estimate(float(value), -math.inf, math.inf, n, "no interval from one cluster", level)
    tail = float(norm.cdf(-t.ppf((1 + level) / 2, groups - 1) * math.sqrt(groups / (groups - 1))))
    low, high = np.quantile(draws, [tail, 1 - tail], method="closest_observation")
    method = f"expanded, {groups} clusters, {len(draws)} resamples"
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)), n, method, level)
