"""Figures of quality and cost: how well is each number known, and what does quality cost.

Each is a `matplotlib.figure.Figure` that stands alone: a notebook shows it as the last expression of a cell, and
pyplot never hears of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import InputError
from evalkit.evaluate.results import better_when_higher
from evalkit.reporting.canvas import (
    PALETTE,
    REST,
    WIDTH,
    axis_words,
    canvas,
    metric_words,
    title,
    wrapped,
)
from evalkit.reporting.cells import Cell, cells, default_metrics, right_edge
from evalkit.reporting.placing import Boxes, place, segment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.evaluate.results import Results

_COLUMNS = 3
_DASHES = (0, (4, 3))
_MOST_NAMES, _LONGEST_NAME = 20, 60
"""Points of a trade-off called by name, and the letters of one; beyond, points get numbers and a key."""


def intervals(results: Results, metrics: Sequence[str] | None = None) -> Figure:
    """Draw every variant's mean and 95 % interval, one panel a metric.

    Parameters
    ----------
    results : Results
    metrics : sequence of str, optional
        Default: those of the short table.

    Returns
    -------
    Figure
        A dashed line marks the base; an arrow, an interval that is open because the sample is too small to close it.

    Raises
    ------
    InputError
        If a metric was not measured, or there is none to draw.
    """
    given = default_metrics(results) if metrics is None else list(metrics)
    names = [str(n) for n in results.table(given).columns] if given else []
    if not names:
        raise InputError("intervals: no metric to draw; name one of the results' metrics")
    across = min(_COLUMNS, len(names))
    down = math.ceil(len(names) / across)
    labels = wrapped(results.systems)
    lines = sum(label.count("\n") + 1.7 for label in labels.values())
    with canvas(WIDTH, 0.5 + down * (0.75 + 0.16 * lines)) as figure:
        panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            _forest(panel, results, name)
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        first = panels[0]
        marked = [f"{text} (base)" if label == results.base else text for label, text in labels.items()]
        first.set_yticks(range(len(marked)), marked)
        first.set_ylim(len(marked) - 0.5, -0.5)
        figure.suptitle(title("Each metric with its 95 % interval; the dashed line is the base"), x=0.01, ha="left")
    return figure


def _forest(axes: Axes, results: Results, metric: str) -> None:
    found = cells(results, metric)
    rows = {label: row for row, label in enumerate(results.systems)}
    edge = right_edge(list(found.values()))
    for label, cell in found.items():
        base = label == results.base
        _bar(axes, cell, rows[label], edge, colour=PALETTE[1] if base else PALETTE[0], marker="D" if base else "o")
    for label in rows.keys() - found.keys():
        where = (0.02, rows[label])
        axes.annotate("not measured", where, xycoords=("axes fraction", "data"), va="center", color=REST)
    if results.base in found:
        axes.axvline(found[results.base].value, color=PALETTE[1], linestyle=_DASHES, linewidth=0.9, zorder=0)
    axes.set_title(metric_words(metric))
    sizes = sorted({cell.n for cell in found.values()})
    axes.set_xlabel(f"{_better(metric)}\nn = {', '.join(map(str, sizes))}", fontsize=8.5)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=5)


def _bar(axes: Axes, cell: Cell, row: float, edge: float, *, colour: str, marker: str) -> None:
    high = cell.high if math.isfinite(cell.high) else edge
    low = cell.low if math.isfinite(cell.low) else cell.value
    axes.errorbar(
        [cell.value], [row], xerr=[[cell.value - low], [high - cell.value]],
        fmt=marker, markersize=5, color=colour, capsize=0 if high != cell.high else 2.5, linewidth=1.4,
    )  # fmt: skip
    if high != cell.high:
        axes.plot([edge], [row], marker=">", markersize=5, color=colour, linestyle="")


def _better(metric: str) -> str:
    return "higher is better →" if better_when_higher(metric) else "← lower is better"


def tradeoff(results: Results, x: str = "P50", y: str = "nDCG@10") -> Figure:
    """Draw one metric against another, with the intervals of both and the Pareto front of the means.

    Parameters
    ----------
    results : Results
    x, y : str
        Metrics; by default the median latency and nDCG@10.

    Returns
    -------
    Figure
        Points bear their variants' names while there is room, and numbers with a key beyond.

    Raises
    ------
    InputError
        If a metric was not measured.
    """
    across, up = cells(results, x), cells(results, y)
    x, y = results.metric(x), results.metric(y)
    labels = [label for label in across if label in up]
    points = {label: (across[label].value, up[label].value) for label in labels}
    front = pareto(points, better_when_higher(x), better_when_higher(y))
    with canvas(WIDTH, max(5.8, 0.4 + 0.18 * len(labels))) as figure:
        axes = figure.subplots()
        edges = right_edge(list(across.values())), right_edge(list(up.values()))
        for label in labels:
            _cross(axes, across[label], up[label], edges, label in front, label == results.base)
        stairs = _staircase([points[label] for label in front], better_when_higher(x))
        axes.plot([a for a, _ in stairs], [b for _, b in stairs], color=PALETTE[1], lw=1, ls=_DASHES, zorder=1)
        axes.margins(0.13)
        axes.set(xlabel=axis_words(x), ylabel=axis_words(y))
        figure.suptitle(title(f"{metric_words(y)} against {metric_words(x)}, with 95 % intervals"), x=0.01, ha="left")
        _legend(figure, results.base in points)
        _name(figure, axes, points, lambda: _lines(axes, points, across, up, stairs))
    return figure


def pareto(points: Mapping[str, tuple[float, float]], x_higher: bool, y_higher: bool) -> set[str]:
    """Return the points that no other equals or beats on both metrics while beating it on one."""
    signs = np.array([1.0 if x_higher else -1.0, 1.0 if y_higher else -1.0])
    gains = {label: np.array(point) * signs for label, point in points.items()}
    return {
        label
        for label, own in gains.items()
        if not any((other >= own).all() and (other > own).any() for other in gains.values())
    }


def _staircase(front: Sequence[tuple[float, float]], x_higher: bool) -> list[tuple[float, float]]:
    """Return the corners of what the front attains: between two of its points, no more than the cheaper one."""
    points = sorted(front)
    corners = points[:1]
    for before, after in pairwise(points):
        corners += [(before[0], after[1]) if x_higher else (after[0], before[1]), after]
    return corners


def _cross(axes: Axes, x: Cell, y: Cell, edges: tuple[float, float], best: bool, base: bool) -> None:
    ends = [c.high if math.isfinite(c.high) else edge for c, edge in zip((x, y), edges, strict=True)]
    colour = PALETTE[1] if best else PALETTE[0]
    _, _, bars = axes.errorbar(
        [x.value], [y.value],
        xerr=[[x.value - x.low], [ends[0] - x.value]], yerr=[[y.value - y.low], [ends[1] - y.value]],
        fmt="D" if base else "o", markersize=7 if base else 6, color=colour, ecolor=colour, elinewidth=0.8, zorder=3,
    )  # fmt: skip
    for bar in bars:
        bar.set_alpha(0.45)


def _legend(figure: Figure, base: bool) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=PALETTE[1], marker="o", linestyle=_DASHES, label="Pareto front of the means"),
        Line2D([], [], color=PALETTE[0], marker="o", linestyle="", label="another mean is as good or better on both"),
    ]
    if base:
        entries.append(Line2D([], [], color=REST, marker="D", linestyle="", label="base"))
    figure.legend(handles=entries, loc="outside lower left", ncols=3, fontsize=8.5)


def _name(
    figure: Figure,
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    obstacles: Callable[[], Boxes],
) -> None:
    """Write names at the points, or numbers with a key beside the axes where names find no room."""
    figure.draw_without_rendering()
    places, names = list(points.values()), list(wrapped(points, 22).values())
    fit = len(points) <= _MOST_NAMES and all(len(label) <= _LONGEST_NAME for label in points)
    if fit and place(axes, places, names, size=8, obstacles=obstacles()):
        return
    numbers = [str(i + 1) for i in range(len(points))]
    key = wrapped(points, 44, 2 if len(points) <= _MOST_NAMES else 1).values()
    for number, text in zip(numbers, key, strict=True):
        aligned = number.rjust(len(numbers[-1]), "\u2007")
        axes.plot([], [], linestyle="", label=f"{aligned}  {text}")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, handlelength=0, handletextpad=0
    )
    figure.draw_without_rendering()
    if not place(axes, places, numbers, size=8, obstacles=obstacles()):
        for point, number in zip(places, numbers, strict=True):
            axes.annotate(number, point, xytext=(4, 3), textcoords="offset points", fontsize=7)


def _lines(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    across: Mapping[str, Cell],
    up: Mapping[str, Cell],
    stairs: Sequence[tuple[float, float]],
) -> Boxes:
    """Return where intervals and the front are drawn, in pixels."""
    flat = [segment(axes, (across[p].low, up[p].value), (across[p].high, up[p].value)) for p in points]
    tall = [segment(axes, (across[p].value, up[p].low), (across[p].value, up[p].high)) for p in points]
    return np.array(flat + tall + [segment(axes, a, b) for a, b in pairwise(stairs)]).reshape(-1, 4)
