"""The figure of a sweep: what a parameter does to a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import InputError, nearest
from evalkit.reporting.canvas import MARKERS, PALETTE, WIDTH, axis_words, canvas, metric_words, title, wrapped
from evalkit.reporting.cells import Cell, cells, right_edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.evaluate.results import Results

_LOG_FROM = 20
"""A parameter whose values span this factor gets a logarithmic axis."""
_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


def sweep_lines(
    results: Results, x: str = "retrieve.k", metric: str = "nDCG@10", by: str | None = "chunk.size"
) -> Figure:
    """Draw a metric against a swept parameter, with bands of the 95 % intervals.

    Parameters
    ----------
    results : Results
    x : str
        Dotted path of the parameter along the axis; variants without it are left out.
    metric : str
    by : str, optional
        Dotted path of the parameter that tells the lines apart.

    Raises
    ------
    InputError
        If the metric or a parameter is unknown, or if several variants fall on one point of a line.
    """
    measured = cells(results, metric)
    metric = results.metric(metric)
    lines = lines_of(results, list(measured), x, by)
    values = _ordered([value for line in lines.values() for value in line])
    numeric = all(_is_number(v) for v in values)
    with canvas(WIDTH, 4.8) as figure:
        axes = figure.subplots()
        places = {v: v if numeric else i for i, v in enumerate(values)}
        styles = zip(cycle(PALETTE), cycle(MARKERS), cycle(_DASHES), strict=False)
        for (value, line), style in zip(lines.items(), styles, strict=False):
            at = [v for v in values if v in line]
            _line(axes, [places[v] for v in at], [measured[line[v]] for v in at], style, _words(by, value))
        _ticks(axes, values, numeric)
        axes.set(xlabel=x, ylabel=axis_words(metric))
        parts = f", a line for each {by}" if by is not None and len(lines) > 1 else ""
        figure.suptitle(title(f"{metric_words(metric)} by {x}{parts}, with 95 % intervals"), x=0.01, ha="left")
        if by is not None:
            figure.legend(loc="outside right upper")
    return figure


def lines_of(results: Results, labels: Sequence[str], x: str, by: str | None) -> dict[Any, dict[Any, str]]:
    """Return, for each value of `by`, the variant at each value of `x`.

    Raises
    ------
    InputError
        If a parameter is unknown, or if several variants fall on one point of a line.
    """
    known: Mapping[str, Mapping[str, Any]] = results.manifest.get("parameters", {})
    paths = {path for label in labels for path in known.get(label, {})}
    if not paths:
        raise InputError("sweep_lines: these results do not say the variants' parameters; run the experiment again")
    for path in (x, by):
        if path is not None and path not in paths:
            raise InputError(f"sweep_lines: no variant has a parameter '{path}'{nearest(path, paths)}")
    found: dict[Any, dict[Any, str]] = {}
    for label in labels:
        own = known.get(label, {})
        if x not in own:
            continue
        line = found.setdefault(_plain(own.get(by)) if by is not None else None, {})
        other = line.setdefault(_plain(own[x]), label)
        if other != label:
            differing = [p for p in own if p not in (x, by) and own[p] != known[other].get(p)]
            differing.sort(key=lambda path: path.count("."))
            also = f"; they differ in {', '.join(differing[:3])}: name one in by=" if differing else ""
            raise InputError(f"sweep_lines: '{other}' and '{label}' fall on the same point of {x}{also}")
    return {value: found[value] for value in _ordered(list(found))}


def _line(
    axes: Axes, at: Sequence[float], found: Sequence[Cell], style: tuple[str, str, Any], label: str | None
) -> None:
    colour, marker, dashes = style
    low, value, high = (np.array([getattr(c, name) for c in found]) for name in ("low", "value", "high"))
    high = np.where(np.isfinite(high), high, right_edge(found))
    axes.fill_between(at, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.errorbar(
        at, value, yerr=[value - low, high - value], color=colour, marker=marker, markersize=5, linestyle=dashes,
        linewidth=1.6, elinewidth=0.7, capsize=2, label=label,
    )  # fmt: skip


def _ticks(axes: Axes, values: Sequence[Any], numeric: bool) -> None:
    if not numeric:
        axes.set_xticks(range(len(values)), list(wrapped([_text(v) for v in values], 16).values()))
        axes.margins(x=0.1)
        return
    if values[0] > 0 and values[-1] / values[0] >= _LOG_FROM:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(values, [_text(v) for v in values])


def _plain(value: Any) -> Any:
    return tuple(_plain(v) for v in value) if isinstance(value, list | tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ordered(values: Sequence[Any]) -> list[Any]:
    """Return distinct values: numbers by size, all else as they came."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct) if all(_is_number(v) for v in distinct) else distinct


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(by: str | None, value: Any) -> str | None:
    if by is None:
        return None
    return "\n".join(wrapped([f"{by} = {_text(value)}" if value is not None else f"no {by}"], 26).values())
