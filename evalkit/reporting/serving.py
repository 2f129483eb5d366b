"""Figures of replays: a service under load, and a day second by second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import InputError
from evalkit.metrics import FirstToken
from evalkit.reporting.canvas import MARKERS, PALETTE, REST, WIDTH, canvas, milliseconds, title, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.serving.results.outcomes import Replay

_PANELS = (
    ("P50", "median latency (ms)"),
    ("P95", "P95 latency (ms)"),
    (str(FirstToken(q=0.95)), "P95 first token (ms)"),
    ("answered", "share of requests answered"),
)


def load_curves(
    replays: Mapping[str, Sequence[Replay]] | Sequence[Replay], *, limit_ms: float | None = None
) -> Figure:
    """Draw latency against load: median, 95th percentile, first token, and what was answered.

    Parameters
    ----------
    replays : sequence of Replay, or {service: such a sequence}
        At several rates each. The rate is what came: requests by the seconds from the first to the last.
    limit_ms : float, optional
        A line on the panel of the 95th percentile.

    Returns
    -------
    Figure
        Bars are 95 % intervals; one that is open above ends in an arrow.

    Raises
    ------
    InputError
        If there is none, or requests of a replay came all at once.
    """
    series = replays if isinstance(replays, Mapping) else {"": replays}
    if not any(series.values()):
        raise InputError("load_curves: no replay to draw; give some at several rates")
    points = {name: _points(found) for name, found in series.items()}
    labels = wrapped(points)
    with canvas(WIDTH, 6.6 + 0.2 * math.ceil(len(points) / 3)) as figure:
        grid = figure.subplots(2, 2, sharex=True).ravel()
        for axes, (metric, words) in zip(grid, _PANELS, strict=True):
            for (name, rows), colour, marker in zip(points.items(), cycle(PALETTE), cycle(MARKERS), strict=False):
                _curve(axes, rows, metric, colour, marker, labels[name])
            axes.set_title(words)
            axes.set_xlabel("requests per second that came")
            if metric != "answered" and _spread(points, metric):
                _logarithmic(axes)
        if limit_ms is not None:
            grid[1].axhline(limit_ms, color=REST, linestyle=(0, (4, 3)), linewidth=1)
            grid[1].annotate(
                f"limit {milliseconds(limit_ms)}", (1.0, limit_ms), xycoords=("axes fraction", "data"),
                xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8, color=REST,
            )  # fmt: skip
        grid[3].set_ylim(-0.04, 1.04)
        sizes = sorted({int(row["n"]) for rows in points.values() for row in rows})
        n = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        figure.suptitle(title(f"Latency against load, with 95 % intervals; {n} requests a point"), x=0.01, ha="left")
        if len(points) > 1:
            figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=8.5)
    return figure


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _points(replays: Sequence[Replay]) -> list[dict[str, Any]]:
    """A point a replay, by rate: the rate, and (value, low, high) of each number of its summary."""
    rows = []
    for replay in replays:
        summary = replay.summary
        numbers = zip(summary["value"], summary["low"], summary["high"], strict=True)
        point = dict(zip(summary["metric"], numbers, strict=True))
        rows.append({**point, "rate": rate(replay), "n": len(replay.outcomes)})
    return sorted(rows, key=lambda row: float(row["rate"]))


def rate(replay: Replay) -> float:
    """Return how many requests came per second, from the first to the last."""
    arrived = [outcome.arrived for outcome in replay.outcomes]
    span = max(arrived) - min(arrived)
    if span <= 0:
        raise InputError("load_curves: the requests of a replay came all at once; a rate needs some time")
    return (len(arrived) - 1) / span


def _curve(axes: Axes, rows: Sequence[Mapping[str, Any]], metric: str, colour: str, marker: str, label: str) -> None:
    found = [(row["rate"], *row[metric]) for row in rows if metric in row and math.isfinite(row[metric][0])]
    if not found:
        return
    x, y, low, high = (np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
    closed = np.isfinite(high)
    axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.3, label=label)
    ends = np.array([y - low, np.where(closed, high - y, 0.0)])
    axes.errorbar(x, y, yerr=np.maximum(ends, 0.0), fmt="none", ecolor=colour, capsize=2.5, linewidth=1, alpha=0.7)
    for at, value in zip(x[~closed], y[~closed], strict=True):
        axes.annotate(
            "", (at, value), xytext=(0, 16), textcoords="offset points",
            arrowprops={"arrowstyle": "<-", "color": colour, "linewidth": 1},
        )  # fmt: skip


def _spread(points: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> bool:
    """Whether values span so much that a linear axis would hide the small ones; zeros cannot stand on a log axis."""
    values = [row[metric][0] for rows in points.values() for row in rows if metric in row]
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 10 * min(finite)


def traffic_timeline(replay: Replay, width: float = 1.0) -> Figure:
    """Draw what came, what was under way, what became of it and how long it took, over time.

    Parameters
    ----------
    replay : Replay
    width : float
        Seconds of a step.

    Raises
    ------
    InputError
        If `width` is no time.
    """
    rows = replay.per_second(width)
    unit, scale = _unit(float(rows["second"].iloc[-1]) + width)
    x = np.append(rows["second"], rows["second"].iloc[-1] + width) / scale
    step = f"{width:g} s" if width != 1 else "second"
    with canvas(WIDTH, 7.6) as figure:
        panels = figure.subplots(4, 1, sharex=True)
        _steps(panels[0], x, rows["arrivals"], PALETTE[0], "came")
        _steps(panels[0], x, rows["ended"], PALETTE[1], "ended")
        panels[0].set_title(f"requests per {step}")
        panels[1].fill_between(x, _held(rows["in_flight"]), step="post", color=PALETTE[4], linewidth=0)
        panels[1].set_title("requests under way")
        _outcomes(panels[2], x, rows, step)
        for q, colour in (("p50", PALETTE[0]), ("p95", PALETTE[1])):
            middle = (x[:-1] + x[1:]) / 2
            panels[3].plot(middle, rows[f"{q}_ms"], color=colour, lw=1, marker=".", markersize=3, label=q.upper())
        panels[3].set_title(f"latency of those answered, per {step} (ms)")
        panels[3].set_xlabel(f"{unit} since the traffic began")
        for axes in panels:
            axes.set_ylim(bottom=0)
            if len(axes.get_legend_handles_labels()[0]) > 1:
                axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5)
        panels[0].set_xlim(x[0], x[-1])
        answered = float((replay.per_request["outcome"] == "answered").mean())
        text = f"{len(replay.outcomes):,} requests over time, {answered:.1%} answered"
        figure.suptitle(title(text), x=0.01, ha="left")
    return figure


def _steps(axes: Axes, x: Any, values: Any, colour: str, label: str) -> None:
    axes.step(x, _held(values), where="post", color=colour, linewidth=1, label=label)


def _held(values: Any) -> Any:
    """Values with the last one again, so that its step is drawn to its end."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.append(numbers, numbers[-1])


def _outcomes(axes: Axes, x: Any, rows: pd.DataFrame, step: str) -> None:
    """Stack what became of the requests that ended in each step; hits are those of the answered ones."""
    parts = {
        "answered by a cache": (np.minimum(rows["hits"], rows["answered"]), PALETTE[2]),
        "answered": (np.maximum(rows["answered"] - rows["hits"], 0), PALETTE[0]),
        "refused": (rows["refused"], PALETTE[5]),
        "failed": (rows["failed"], PALETTE[1]),
        "abandoned": (rows["abandoned"], PALETTE[3]),
    }
    parts = {name: part for name, part in parts.items() if part[0].any()}
    base = np.zeros(len(x))
    for name, (values, colour) in parts.items():
        top = base + _held(values)
        axes.fill_between(x, base, top, step="post", color=colour, linewidth=0, label=name)
        base = top
    axes.set_title(f"what became of them, per {step}")


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which a stretch of time is best read, and its seconds."""
    return ("hours", 3600.0) if seconds > 3 * 3600 else ("minutes", 60.0) if seconds > 600 else ("seconds", 1.0)
