"""One router: its threshold chosen on some prompts, what it does on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import InputError
from evalkit.metrics.base import Estimate
from evalkit.metrics.statistics import holm
from evalkit.serving.routers.curves import LEAST, Curve, Drawn
from evalkit.serving.routers.verdicts import AgainstRandom, band, estimate, p_value

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Routed:
    """A router on prompts that neither it nor its threshold was chosen on.

    Parameters
    ----------
    curve : Curve
        On those prompts.
    threshold : float
        Chosen on the other prompts.
    estimates : {name: Estimate}
        ``calls``, ``usd_per_1000``, ``quality``, ``pgr`` at the threshold; ``apgr`` (by calls), ``apgr_cost``;
        ``cpt_50``, ``cpt_80`` (shares of calls), ``cost_50``, ``cost_80`` (the same in shares of the cost between the
        two models); ``random``, the quality of a random router at the same cost.
    at_threshold, whole : AgainstRandom
        At the threshold, and of the curve.
    shown : int64 array of shape (p,)
        Positions on the curve that have a band.
    quality_band, gain_band : float64 arrays of shape (2, p)
        Ends of the quality there, and of what it is beyond that of a random router at the same cost.
    """

    curve: Curve
    threshold: float
    estimates: Mapping[str, Estimate]
    at_threshold: AgainstRandom
    whole: AgainstRandom
    shown: NDArray[np.int64]
    quality_band: Floats
    gain_band: Floats


_MEASURES: Mapping[str, Callable[[Drawn, int], Floats]] = {
    "calls": lambda d, k: d.calls[:, k],
    "usd_per_1000": lambda d, k: 1000.0 * d.usd[:, k],
    "quality": lambda d, k: d.quality[:, k],
    "pgr": lambda d, k: d.recovered[:, k],
    "apgr": lambda d, k: d.area(d.calls),
    "apgr_cost": lambda d, k: d.area(d.share),
    "cpt_50": lambda d, k: d.reached(d.calls, 0.5),
    "cpt_80": lambda d, k: d.reached(d.calls, 0.8),
    "cost_50": lambda d, k: d.reached(d.share, 0.5),
    "cost_80": lambda d, k: d.reached(d.share, 0.8),
    "random": lambda d, k: d.random[:, k],
    "gain": lambda d, k: d.gain[:, k],
    "area": lambda d, k: _beyond_half(d.area(d.share)),
}
REPORTED = tuple(name for name in _MEASURES if name not in ("gain", "area"))
"""Names of a router's estimates."""


def _beyond_half(area: Floats) -> Floats:
    """Return an area less that of a random router, which is a half whatever its cost."""
    found = area - 0.5
    return np.where(np.abs(found) < LEAST, 0.0, found)


def choose(curve: Curve, target: float | None, budget: float | None) -> float:
    """Return the threshold that the known prompts speak for.

    Parameters
    ----------
    curve : Curve
        Of the known prompts.
    target : float or None
        The cheapest threshold that recovers so much of the gap.
    budget : float or None
        In its place: dollars per 1,000 prompts; the threshold of the best quality within it, of several the cheapest.

    Raises
    ------
    InputError
        If none does.
    """
    found = curve.points
    usd, recovered, quality = 1000.0 * found.usd[0], found.recovered[0], found.quality[0]
    if budget is not None:
        fits = np.flatnonzero(usd <= budget)
        if not len(fits):
            raise InputError(
                f"route_curves: the weak model alone costs ${usd[0]:.3g} per 1,000, above ${budget:g}; raise budget"
            )
        return float(curve.thresholds[min(fits, key=lambda k: (-quality[k], usd[k]))])
    wanted = 1.0 if target is None else target
    fits = np.flatnonzero(recovered >= wanted - LEAST)
    if not len(fits):
        raise InputError(f"route_curves: no threshold recovers {wanted:g} of the gap on the prompts to tune on")
    return float(curve.thresholds[min(fits, key=lambda k: (usd[k], -quality[k]))])


def report(
    curves: Mapping[str, Curve],
    thresholds: Mapping[str, float],
    *,
    seed: int,
    level: float,
    resamples: int,
    points: int,
) -> dict[str, Routed]:
    """Work out estimates, bands and verdicts of several routers on the same prompts, paired.

    Parameters
    ----------
    curves : {router: Curve}
    thresholds : {router: float}
    seed, resamples : int
        Of the bootstrap.
    level : float
    points : int
        Positions of a curve that get a band, at most; and that of the threshold.
    """
    worked = {
        name: _resampled(curve, thresholds[name], seed, level, resamples, points) for name, curve in curves.items()
    }
    p = holm([one.p for one in worked.values()])
    p_area = holm([one.p_area for one in worked.values()])
    return {
        name: Routed(
            curves[name], thresholds[name], {m: found for m, found in one.estimates.items() if m in REPORTED},
            AgainstRandom(one.estimates["gain"], float(p[i])), AgainstRandom(one.estimates["area"], float(p_area[i])),
            one.shown, one.quality_band, one.gain_band,
        )
        for i, (name, one) in enumerate(worked.items())
    }  # fmt: skip


class _Resampled(NamedTuple):
    """One router's numbers; p-values are not corrected."""

    estimates: Mapping[str, Estimate]
    p: float
    p_area: float
    shown: NDArray[np.int64]
    quality_band: Floats
    gain_band: Floats


def _resampled(curve: Curve, threshold: float, seed: int, level: float, resamples: int, points: int) -> _Resampled:
    at = curve.position(threshold)
    shown = _spread(len(curve.thresholds), points, at)
    values = {measure: np.empty(resamples) for measure in _MEASURES}
    quality, gain = np.empty((resamples, len(shown))), np.empty((resamples, len(shown)))
    for start, block in curve.draws(seed, resamples):
        rows = slice(start, start + len(block.weak))
        quality[rows], gain[rows] = block.quality[:, shown], block.gain[:, shown]
        for measure, of in _MEASURES.items():
            values[measure][rows] = of(block, at)
    n = len(curve.stakes)
    estimates = {m: estimate(float(of(curve.points, at)[0]), values[m], n, level) for m, of in _MEASURES.items()}
    bands = [
        band(draws, of[0, shown], level) for draws, of in ((quality, curve.points.quality), (gain, curve.points.gain))
    ]
    return _Resampled(estimates, p_value(values["gain"]), p_value(values["area"]), shown, *bands)


def _spread(size: int, points: int, at: int) -> NDArray[np.int64]:
    """Return positions, evenly spread and with the ends, and one that must be there."""
    even = np.linspace(0, size - 1, min(size, points)).round().astype(np.int64)
    return np.unique(np.append(even, at))
