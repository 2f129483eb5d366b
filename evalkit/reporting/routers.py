"""The figure of routers: what quality costs, with chance, the single models and the oracle beside it."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import InputError, nearest
from evalkit.reporting.canvas import INK, MARKERS, PALETTE, REST, WIDTH, canvas, title, wrapped
from evalkit.reporting.placing import place, segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.serving.routers.route_curves import RouteCurves, RouteReport

_DASHES = (0, (4, 3))
_FEW = 12
"""Thresholds of a curve up to which each is a point of its own."""


def router_curves(curves: RouteCurves, routers: Sequence[str] | None = None, *, swapped: bool = False) -> Figure:
    """Draw quality against cost for every router.

    Parameters
    ----------
    curves : RouteCurves
    routers : sequence of str, optional
        Default: all.
    swapped : bool
        The report with the halves swapped.

    Returns
    -------
    Figure
        A marker is where the threshold lies that was chosen on the other half. The dashed line from the weak model to
        the strong one is a router by chance. A band is the interval of the difference to it, at each cost by itself:
        where it is clear of the line, the router is. Bars of the models alone are intervals of their own quality.

    Raises
    ------
    InputError
        If a router is not among them.
    """
    one = curves.reports[int(swapped)]
    names = list(one.routers) if routers is None else list(routers)
    for name in names:
        if name not in one.routers:
            raise InputError(f"router_curves: no router '{name}'{nearest(name, one.routers)}")
    if not names:
        raise InputError("router_curves: no router to draw; name one")
    labels = wrapped((f"{name}: {one.routers[name].whole.verdict}" for name in names), width=64)
    rows = -(-len(names) // 2) * (1 + max(label.count("\n") for label in labels.values()))
    with canvas(WIDTH, 4.9 + 0.18 * rows) as figure:
        axes = figure.subplots()
        _chance(axes, one)
        for name, colour, marker in zip(names, cycle(PALETTE), cycle(MARKERS), strict=False):
            label = labels[f"{name}: {one.routers[name].whole.verdict}"]
            _curve(axes, one, name, colour, marker, label)
        axes.set_title(f"{one.alone[0].quality.n:,} prompts of the {one.half}, thresholds from the other half")
        axes.margins(x=0.07)
        axes.set_xlabel("$ per 1,000 prompts")
        axes.set_ylabel("quality, higher is better")
        text = f"Quality against cost on {curves.outcomes.name}; bands are intervals of the difference to chance"
        figure.suptitle(title(text), x=0.01, ha="left")
        figure.legend(loc="outside lower left", ncols=2, fontsize=8.5)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        _name(axes, one)
    return figure


def _chance(axes: Axes, one: RouteReport) -> None:
    weak, strong, oracle = one.alone
    ends = [(a.usd_per_1000.value, a.quality.value) for a in (weak, strong)]
    axes.plot(
        *zip(*ends, strict=True), color=REST, linestyle=_DASHES, linewidth=1.2, label="random, exact expectation"
    )
    for alone in (weak, strong, oracle):
        q = alone.quality
        axes.errorbar(
            [alone.usd_per_1000.value], [q.value], yerr=[[q.value - q.low], [q.high - q.value]],
            fmt="*" if alone is oracle else "o", markersize=9 if alone is oracle else 6, color=INK, capsize=2.5,
            linewidth=1, zorder=4,
        )  # fmt: skip


def _curve(axes: Axes, one: RouteReport, name: str, colour: str, marker: str, label: str) -> None:
    routed = one.routers[name]
    drawn, at = routed.curve.points, routed.shown
    usd, quality = 1000.0 * drawn.usd[0, at], drawn.quality[0, at]
    few = len(routed.curve.thresholds) <= _FEW
    if not few:
        low, high = drawn.random[0, at] + routed.gain_band
        axes.fill_between(usd, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.plot(
        usd, quality, color=colour, linewidth=1.4, marker="." if few else None, markersize=5,
        linestyle=":" if few else "-", zorder=3,
    )  # fmt: skip
    here = routed.curve.position(routed.threshold)
    axes.plot(
        [1000.0 * drawn.usd[0, here]], [drawn.quality[0, here]], color=colour, marker=marker, markersize=7,
        markeredgecolor="white", markeredgewidth=0.8, linestyle="-", linewidth=1.4, label=label, zorder=5,
    )  # fmt: skip


def _name(axes: Axes, one: RouteReport) -> None:
    """Write the models' names beside their points."""
    texts = [a.name.rpartition("/")[2] for a in one.alone]
    points = [(a.usd_per_1000.value, a.quality.value) for a in one.alone]
    lines = np.concatenate([_boxes(axes, one, name) for name in one.routers])
    bars = np.array(
        [_bar(axes, point, a.quality.low, a.quality.high) for point, a in zip(points, one.alone, strict=True)]
    )
    place(axes, points, texts, size=8.5, obstacles=np.concatenate([lines, bars]))


def _boxes(axes: Axes, one: RouteReport, name: str) -> np.ndarray:
    routed = one.routers[name]
    drawn, at = routed.curve.points, routed.shown
    found = axes.transData.transform(np.column_stack([1000.0 * drawn.usd[0, at], drawn.quality[0, at]]))
    return np.column_stack([found - 3, found + 3])


def _bar(axes: Axes, point: tuple[float, float], low: float, high: float) -> list[float]:
    left, bottom, right, top = segment(axes, (point[0], low), (point[0], high))
    return [left - 4, bottom, right + 4, top]
