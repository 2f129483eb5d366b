"""Figures of latency: where the time of a request goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.errors import InputError
from evalkit.reporting.canvas import INK, PALETTE, REST, WIDTH, canvas, milliseconds, title, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.evaluate.results import Results
    from evalkit.variants import Variant

BETWEEN = "between stages"
_SHOWN_FROM = 0.005
"""Share of the total above which the time that no stage accounts for is shown."""


@dataclass(frozen=True)
class Times:
    """Mean milliseconds of a variant's requests.

    Parameters
    ----------
    stages : {stage: ms}
        In the order of the pipeline.
    total : float
        Measured around the whole request, so it may exceed the sum of the stages.
    n : int
        Queries.
    """

    stages: dict[str, float]
    total: float
    n: int

    @property
    def between(self) -> float:
        """What no stage accounts for; 0 where it is too little to show."""
        rest = self.total - sum(self.stages.values())
        return rest if rest > _SHOWN_FROM * self.total else 0.0


def times(results: Results, label: str) -> Times | None:
    """Return what a variant's requests took on average, or None where it was not timed."""
    rows = results.per_query[results.per_query["variant"] == label]
    total = rows.loc[rows["metric"] == "ms"].set_index("query")["value"]
    if total.empty:
        return None
    names = [str(m) for m in dict.fromkeys(rows["metric"]) if str(m).startswith("ms[")]
    found = {}
    for name in names:
        spent = rows.loc[rows["metric"] == name].set_index("query")["value"]
        found[name[3:-1]] = float(spent.reindex(total.index).fillna(0.0).mean())
    return Times(found, float(total.mean()), len(total))


def waterfall(results: Results, variant: Variant | str | None = None) -> Figure:
    """Draw where the time of a request goes: its stages one after another, and the total.

    Parameters
    ----------
    results : Results
    variant : Variant or label, optional
        Default: the base.

    Returns
    -------
    Figure
        Means over the timed queries, with the 95 % interval of each.

    Raises
    ------
    InputError
        If there is no such variant, or it was not timed.
    """
    label = results.label(variant)
    found = times(results, label)
    if found is None:
        raise InputError(f"waterfall: '{label}' was not timed; {_HOW}")
    parts = found.stages | ({BETWEEN: found.between} if found.between else {})
    colours = _colours(_merged([t.stages for t in _all(results).values()]))
    with canvas(WIDTH, 1.35 + 0.38 * (len(parts) + 1)) as figure:
        axes = figure.subplots()
        start = 0.0
        for row, (stage, ms) in enumerate(parts.items()):
            colour = colours.get(stage, REST)
            axes.barh(row, ms, left=start, height=0.62, color=colour, edgecolor=colour, label=stage)
            interval = _mean_interval(results, label, stage) if stage != BETWEEN else None
            _end(axes, row, start, ms, interval, f"{milliseconds(ms)} · {ms / found.total:.1%}")
            start += ms
            axes.plot([start, start], [row - 0.31, row + 1.31], color=REST, linewidth=0.7, zorder=0)
        axes.barh(len(parts), found.total, height=0.62, color=REST, label="total")
        _end(axes, len(parts), 0.0, found.total, _mean_interval(results, label), milliseconds(found.total))
        axes.set_yticks(range(len(parts) + 1), [*parts, "total"])
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.set_ylim(len(parts) + 0.6, -0.6)
        axes.set_xlim(0, found.total * 1.24)
        axes.set_xlabel(f"mean time from the start of a request (ms), {found.n} queries, with 95 % intervals")
        axes.grid(axis="y", visible=False)
        figure.suptitle(title(f"Where the time of a request goes: {label}"), x=0.01, ha="left")
    return figure


def _end(axes: Axes, row: int, start: float, ms: float, interval: tuple[float, float] | None, text: str) -> None:
    """Draw the interval of a bar's end, and write its number beyond."""
    end = start + ms
    right = end
    if interval is not None:
        low, high = interval
        axes.errorbar(
            [end],
            [row],
            xerr=[[max(ms - low, 0)], [max(high - ms, 0)]],
            fmt="none",
            color=INK,
            capsize=2.5,
            linewidth=1,
        )
        right = start + high
    axes.annotate(text, (right, row), xytext=(6, 0), textcoords="offset points", va="center")


def stages(results: Results) -> Figure:
    """Draw how long each variant's requests take, by stage.

    Parameters
    ----------
    results : Results

    Returns
    -------
    Figure
        Means over the timed queries; the line at a bar's end is the 95 % interval of the total.

    Raises
    ------
    InputError
        If no variant was timed.
    """
    timed = _all(results)
    if not timed:
        raise InputError(f"stages: no variant was timed; {_HOW}")
    order = _merged([t.stages for t in timed.values()])
    colours = _colours(order)
    labels = wrapped(timed)
    lines = sum(label.count("\n") + 1.7 for label in labels.values())
    with canvas(WIDTH, 1.5 + 0.17 * lines) as figure:
        axes = figure.subplots()
        start = [0.0] * len(timed)
        for stage in [*order, BETWEEN]:
            ms = [t.between if stage == BETWEEN else t.stages.get(stage, 0.0) for t in timed.values()]
            if any(ms):
                axes.barh(range(len(timed)), ms, left=start, height=0.66, color=colours.get(stage, REST), label=stage)
            start = [a + b for a, b in zip(start, ms, strict=True)]
        for row, (label, t) in enumerate(timed.items()):
            _end(axes, row, 0.0, t.total, _mean_interval(results, label), milliseconds(t.total))
        marked = [f"{text} (base)" if label == results.base else text for label, text in labels.items()]
        axes.set_yticks(range(len(timed)), marked)
        axes.set_ylim(len(timed) - 0.4, -0.6)
        axes.set_xlim(0, max(_reach(results, label, t) for label, t in timed.items()) * 1.15)
        sizes = ", ".join(map(str, sorted({t.n for t in timed.values()})))
        axes.set_xlabel(f"mean time of a request (ms), {sizes} queries, with the 95 % interval of the total")
        axes.grid(axis="y", visible=False)
        figure.suptitle(title("Time of a request by stage"), x=0.01, ha="left")
        figure.legend(loc="outside lower left", ncols=6, fontsize=8.5)
    return figure


_HOW = "run with timing, e.g. ek.run(..., timing=ek.Timing())"


def _all(results: Results) -> dict[str, Times]:
    found = {label: times(results, label) for label in results.systems}
    return {label: t for label, t in found.items() if t is not None}


def _merged(orders: Sequence[dict[str, float]]) -> list[str]:
    """Return all stages in one order that keeps, as far as can be, the order of each variant."""
    merged: list[str] = []
    for order in orders:
        at = 0
        for stage in order:
            if stage not in merged:
                merged.insert(at, stage)
            at = merged.index(stage) + 1
    return merged


def _colours(order: Sequence[str]) -> dict[str, str]:
    return {stage: PALETTE[i % len(PALETTE)] for i, stage in enumerate(order)}


def _mean_interval(results: Results, label: str, stage: str | None = None) -> tuple[float, float] | None:
    metric = "Mean" if stage is None else f'Mean(stage="{stage}")'
    rows = results.summary[(results.summary["variant"] == label) & (results.summary["metric"] == metric)]
    for row in rows.itertuples():
        low, high = float(row.low), float(row.high)  # type: ignore[arg-type]
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None
    return None


def _reach(results: Results, label: str, found: Times) -> float:
    return (_mean_interval(results, label) or (0.0, found.total))[1]
