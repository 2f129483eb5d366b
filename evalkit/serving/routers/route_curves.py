"""Cost against quality of routers on recorded outcomes: tuned on one half of the prompts, reported on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import InputError, InputErrors
from evalkit.metrics.base import Estimate
from evalkit.metrics.statistics import mean_interval
from evalkit.serving.routers.curves import Curve, Stakes
from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.serving.routers.scores import GivenScores, RouterScore
from evalkit.serving.routers.tuning import REPORTED, Routed, choose, report

if TYPE_CHECKING:
    import pandas as pd

LEAST_PROMPTS = 10
"""Prompts of a half below which intervals of resamples say nothing."""
_HALVES = ("second half", "first half")
"""What is reported: of the given order of halves, and with the two swapped."""


@dataclass(frozen=True, eq=False)
class Alone:
    """A single model, or the oracle, on the prompts of a report.

    Parameters
    ----------
    name : str
    usd_per_1000, quality : Estimate
    """

    name: str
    usd_per_1000: Estimate
    quality: Estimate


@dataclass(frozen=True, eq=False)
class RouteReport:
    """All routers on one half of the prompts, tuned on the other.

    Parameters
    ----------
    half : str
        That is reported.
    tuned_on : int
        Prompts of the other half.
    routers : {name: Routed}
    alone : tuple of Alone
        The weak model, the strong one, and the oracle, which asks the cheapest of the models that answer best.
    """

    half: str
    tuned_on: int
    routers: Mapping[str, Routed]
    alone: tuple[Alone, Alone, Alone]


@dataclass(frozen=True, eq=False)
class RouteCurves:
    """What routers would have made of recorded outcomes.

    Parameters
    ----------
    outcomes : RecordedOutcomes
    reports : pair of RouteReport
        Tuned on the first half and reported on the second; and with the halves swapped.
    target : float or None
        Share of the gap between the models that thresholds were to recover.
    budget : float or None
        Dollars per 1,000 prompts that they were to keep to, in its place.
    seed : int
        Of the halves and of the bootstrap.
    """

    outcomes: RecordedOutcomes
    reports: tuple[RouteReport, RouteReport] = field(repr=False)
    target: float | None
    budget: float | None
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """One row a router, reported on the second half; see `RouteCurves.rows`."""
        return self.rows(0)

    @property
    def swapped(self) -> pd.DataFrame:
        """The same with the halves swapped: what was reported on is tuned on."""
        return self.rows(1)

    def rows(self, direction: int) -> pd.DataFrame:
        """Return one row a router.

        Returns
        -------
        DataFrame
            ``router``; ``kind`` (router or cascade); ``threshold``, chosen on the other half; ``calls``,
            ``usd_per_1000``, ``quality`` and ``pgr`` at it; ``apgr`` and ``cpt_50``, ``cpt_80`` by calls as in
            RouteLLM, ``apgr_cost``, ``cost_50`` and ``cost_80`` by cost; ``random``, the quality of a random router
            at the same cost; each with ``<name>_low`` and ``<name>_high``. ``vs_random`` with its ends, ``p`` (by
            Holm over the routers) and ``verdict``; ``curve_vs_random``, ``curve_p`` and ``curve_verdict`` for the
            area over all costs. ``reported``, ``n``, ``origin``.
        """
        import pandas as pd

        one = self.reports[direction]
        found = []
        for name, routed in one.routers.items():
            row = {
                "router": name,
                "kind": "cascade" if routed.curve.cascade else "router",
                "threshold": routed.threshold,
            }
            for measure in REPORTED:
                row |= _ends(measure, routed.estimates[measure])
            for prefix, against in (("", routed.at_threshold), ("curve_", routed.whole)):
                row |= _ends(f"{prefix}vs_random", against.gain)
                row |= {f"{prefix}p": against.p, f"{prefix}verdict": against.verdict}
            row |= {"reported": one.half, "n": len(routed.curve.stakes), "origin": self.outcomes.origin}
            found.append(row)
        return pd.DataFrame(found)

    @property
    def alone(self) -> pd.DataFrame:
        """The models alone, and the oracle: ``name``, ``usd_per_1000`` and ``quality`` with ends, ``reported``."""
        import pandas as pd

        found = [
            {"name": a.name} | _ends("usd_per_1000", a.usd_per_1000) | _ends("quality", a.quality)
            | {"reported": one.half, "n": a.quality.n, "origin": self.outcomes.origin}
            for one in self.reports for a in one.alone
        ]  # fmt: skip
        return pd.DataFrame(found)

    @property
    def curve(self) -> pd.DataFrame:
        """Points of the curves, reported on the second half, from the fewest calls on.

        Returns
        -------
        DataFrame
            ``router``, ``threshold``, ``calls``, ``usd_per_1000``, ``quality``, ``pgr``, ``random`` (the quality of a
            random router at the same cost), ``vs_random`` (the difference), ``tuned``; ``_low`` and ``_high`` of
            ``quality`` and of ``vs_random`` are intervals of each point by itself.
        """
        import pandas as pd

        parts = []
        for name, routed in self.reports[0].routers.items():
            drawn, at = routed.curve.points, routed.shown
            columns = {
                "router": name, "threshold": routed.curve.thresholds[at], "calls": drawn.calls[0, at],
                "usd_per_1000": 1000.0 * drawn.usd[0, at], "quality": drawn.quality[0, at],
                "quality_low": routed.quality_band[0], "quality_high": routed.quality_band[1],
                "pgr": drawn.recovered[0, at], "random": drawn.random[0, at],
                "vs_random": drawn.gain[0, at], "vs_random_low": routed.gain_band[0],
                "vs_random_high": routed.gain_band[1],
                "tuned": at == routed.curve.position(routed.threshold),
            }  # fmt: skip
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def __str__(self) -> str:
        from evalkit.serving.routers.telling import told

        return told(self)

    __repr__ = __str__


def _ends(name: str, one: Estimate) -> dict[str, float]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def route_curves(
    outcomes: RecordedOutcomes,
    routers: Mapping[str, RouterScore | NDArray[np.float64]],
    *,
    target: float | None = None,
    budget: float | None = None,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 10_000,
    points: int = 201,
) -> RouteCurves:
    """Try routers on recorded outcomes: what each costs and recovers, and whether it beats chance at the same cost.

    What a router learns, and its threshold, come from one half of the prompts (drawn by `seed` and the prompts'
    text); all that is reported comes from the other half. Then the halves change places. The random router asks the
    strong model by chance, as often as costs the same; its quality is an exact expectation.

    Parameters
    ----------
    outcomes : RecordedOutcomes
        Of two models; see `RecordedOutcomes.between`.
    routers : {name: RouterScore or array of shape (n,)}
        An array is that of a router's scores, made without the outcomes.
    target : float, optional
        Share of the gap in quality that the threshold is to recover, at the least cost. Default 0.5.
    budget : float, optional
        In its place: dollars per 1,000 prompts that it may cost.
    seed : int
        Of the halves and of the bootstrap over prompts, which all routers share.
    level : float
        Of intervals; 1 - level is the size of the tests.
    resamples : int
    points : int
        Points of a curve that get a band, at most. Areas are of all.

    Raises
    ------
    InputErrors
        For every parameter that is out of range, and every router that is none.
    InputError
        If there are more than two models or fewer than `LEAST_PROMPTS` prompts in a half, the strong model is not
        better on a half, or a score is not finite.

    References
    ----------
    Ong et al., *RouteLLM: Learning to Route LLMs with Preference Data*, 2024 (PGR, APGR, CPT).
    """
    faults = [*_faults(target, budget, seed, level), *_no_routers(routers, len(outcomes))]
    if not routers or resamples < 1 or points < 2:
        faults.append("give at least one router, one resample and two points")
    if faults:
        raise InputErrors([f"route_curves: {fault}" for fault in faults])
    target = 0.5 if target is None and budget is None else target
    if len(outcomes.models) != 2:
        raise InputError(
            f"route_curves: outcomes of {len(outcomes.models)} models; choose two with outcomes.between(weak, strong)"
        )
    stakes = Stakes(*outcomes.quality.T.copy(), *outcomes.usd.T.copy())
    first = outcomes.parts(2, seed, "half") == 0
    least = min(int(first.sum()), int((~first).sum()))
    if least < LEAST_PROMPTS:
        raise InputError(
            f"route_curves: a half has {least} of the {len(outcomes)} prompts, too few to report on; "
            f"record at least {2 * LEAST_PROMPTS} different prompts"
        )
    reports = []
    for half, known in zip(_HALVES, (first, ~first), strict=True):
        tuned, told = np.flatnonzero(known), np.flatnonzero(~known)
        for rows in (tuned, told):
            _check_gap(stakes.take(rows), outcomes)
        scored = {name: _scores(name, router, outcomes, known) for name, router in routers.items()}
        chosen = {
            name: choose(Curve(stakes.take(tuned), scores[tuned], cascade), target, budget)
            for name, (scores, cascade) in scored.items()
        }
        curves = {name: Curve(stakes.take(told), scores[told], cascade) for name, (scores, cascade) in scored.items()}
        found = report(curves, chosen, seed=seed, level=level, resamples=resamples, points=points)
        reports.append(RouteReport(half, len(tuned), found, _alone(outcomes, told, level, seed)))
    return RouteCurves(outcomes, (reports[0], reports[1]), target, budget, seed)


def _faults(target: float | None, budget: float | None, seed: object, level: float) -> Iterator[str]:
    if target is not None and budget is not None:
        yield "both target and budget; give one of them"
    if target is not None and not 0 < target <= 1:
        yield f"target is {target}; it is a share of the gap, above 0 and at most 1"
    if not isinstance(seed, int | np.integer) or seed < 0:
        yield f"seed is {seed}; give a whole number, 0 or more"
    if not 0 < level < 1:
        yield f"level is {level}; it is between 0 and 1"


def _no_routers(routers: Mapping[str, RouterScore | NDArray[np.float64]], n: int) -> Iterator[str]:
    for name, router in routers.items():
        if not (_is_array(router) or (isinstance(router, RouterScore) and not isinstance(router, type))):
            kind = type(router).__name__
            yield f"'{name}' is no router; give a RouterScore or an array of shape ({n},), not {kind}"


def _is_array(router: object) -> bool:
    if not isinstance(router, np.ndarray | Sequence) or isinstance(router, str | bytes):
        return False
    try:
        return np.ndim([float(value) for value in router]) == 1
    except (TypeError, ValueError):
        return False


def _scores(
    name: str, router: RouterScore | NDArray[np.float64], outcomes: RecordedOutcomes, known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], bool]:
    """Return a router's scores, and whether it is a cascade."""
    if isinstance(router, np.ndarray | Sequence):
        router = GivenScores(tuple(float(value) for value in router))
    found = np.asarray(router.scores(outcomes, known), dtype=np.float64)
    if found.shape != (len(outcomes),) or not np.isfinite(found).all():
        raise InputError(f"route_curves: '{name}' gives no finite score for each of the {len(outcomes)} prompts")
    return found, router.cascade


def _check_gap(stakes: Stakes, outcomes: RecordedOutcomes) -> None:
    weak, strong = outcomes.models
    if not len(stakes) or stakes.strong.mean() <= stakes.weak.mean():
        raise InputError(
            f"route_curves: on a half of the prompts {strong} is no better than {weak}; there is no gap to recover"
        )
    if stakes.strong_usd.mean() <= stakes.weak_usd.mean():
        raise InputError(f"route_curves: on a half of the prompts {strong} costs no more than {weak}; ask it alone")


def _alone(
    outcomes: RecordedOutcomes, rows: NDArray[np.int64], level: float, seed: int
) -> tuple[Alone, Alone, Alone]:
    places = [np.zeros(len(rows), np.int64), np.ones(len(rows), np.int64), outcomes.oracle[rows]]
    found = []
    for name, place in zip((*outcomes.models, "oracle"), places, strict=True):
        usd, quality = 1000.0 * outcomes.usd[rows, place], outcomes.quality[rows, place]
        found.append(
            Alone(name, mean_interval(usd, level=level, seed=seed), mean_interval(quality, level=level, seed=seed))
        )
    return found[0], found[1], found[2]
