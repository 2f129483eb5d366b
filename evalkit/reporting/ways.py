"""The figure of one request's way through a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import InputError
from evalkit.reporting.canvas import INK, PALETTE, REST, WIDTH, canvas, milliseconds, title
from evalkit.serving.results.summary import OUTCOMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.served import Event
    from evalkit.serving.results.outcomes import Outcome, Replay

_MOST_EVENTS = 40
_KIND_COLOURS = {"layer": PALETTE[4], "work": PALETTE[0], "call": PALETTE[1]}
_KIND_WORDS = {"layer": "a layer, and what it waited for", "work": "work on a core", "call": "call of a model"}


def request_waterfall(replay: Replay, request: int | None = None) -> Figure:
    """Draw a request's way through the service: each layer, stage and call from its begin to its end.

    Parameters
    ----------
    replay : Replay
    request : int, optional
        Its number. Default: of each kind of outcome (a hit, an answer that was made, one that was refused, ...) the
        request whose time is the median.

    Returns
    -------
    Figure
        A panel a request; hollow is the wait for a core, a dotted line the first piece of the answer.

    Raises
    ------
    InputError
        If there is no such request, or nothing in it took note of time.
    """
    chosen = _typical(replay) if request is None else {f"request {request}": _numbered(replay, request)}
    chosen = {name: outcome for name, outcome in chosen.items() if outcome.events}
    if not chosen:
        raise InputError("request_waterfall: no layer, stage or call took time in it; there is nothing to draw")
    rows = [min(len(outcome.events), _MOST_EVENTS) for outcome in chosen.values()]
    heights = [1.15 + 0.24 * count for count in rows]
    with canvas(WIDTH, 0.7 + sum(heights)) as figure:
        panels = figure.subplots(len(chosen), 1, squeeze=False, height_ratios=heights).ravel()
        for axes, (name, outcome) in zip(panels, chosen.items(), strict=True):
            _way(axes, outcome, name)
        panels[-1].set_xlabel("time since the request came (ms)")
        figure.suptitle(title("The way of a request through the service"), x=0.01, ha="left")
        _legend(figure, [event for outcome in chosen.values() for event in outcome.events])
    return figure


def _numbered(replay: Replay, number: int) -> Outcome:
    for outcome in replay.outcomes:
        if outcome.number == number:
            return outcome
    raise InputError(f"request_waterfall: no request {number}; they are numbered from 0 in order of arrival")


def _typical(replay: Replay) -> dict[str, Outcome]:
    """Of each kind of outcome the request with the (lower) median time."""
    rows = replay.per_request
    kinds = {"answered by a cache": (rows["outcome"] == "answered") & (rows["hit"] != "")}
    kinds["answered"] = (rows["outcome"] == "answered") & (rows["hit"] == "")
    kinds |= {name: rows["outcome"] == name for name in OUTCOMES[1:]}
    found = {}
    for name, mask in kinds.items():
        places = np.flatnonzero(mask.to_numpy())
        if len(places):
            ordered = places[np.argsort(rows["ms"].to_numpy()[places], kind="stable")]
            outcome = replay.outcomes[int(ordered[(len(ordered) - 1) // 2])]
            found[f"{name}: request {outcome.number}, the median of {len(places):,}"] = outcome
    return found


def _order(placed: tuple[int, Event]) -> tuple[float, bool, float, int]:
    """By begin; an outer layer before the one within it, and work after the layers that wait for it."""
    place, event = placed  # of two that end at once, the inner one was written down first
    layer = event.kind == "layer"
    return event.start, not layer, -event.end if layer else event.end, -place if layer else place


def _way(axes: Axes, outcome: Outcome, name: str) -> None:
    events = [event for _, event in sorted(enumerate(outcome.events), key=_order)]
    shown, left_out = events[:_MOST_EVENTS], len(events) - _MOST_EVENTS
    span = max(outcome.ended - outcome.arrived, max(e.end for e in events) - outcome.arrived) * 1e3
    for row, event in enumerate(shown):
        start, began, end = ((t - outcome.arrived) * 1e3 for t in (event.start, event.began, event.end))
        colour = _KIND_COLOURS.get(event.kind, REST)
        height = 0.62 if event.kind != "layer" else 0.4
        if began > start:
            axes.barh(row, began - start, left=start, height=height, facecolor="none", edgecolor=colour, hatch="////")
        axes.barh(row, end - began, left=began, height=height, color=colour, edgecolor=colour, linewidth=0.8)
        if end == began:
            axes.plot([end], [row], marker="|", markersize=10, markeredgewidth=2, color=colour, clip_on=False)
        waited = f" after {milliseconds(began - start)} of waiting" if began > start else ""
        right = end > 0.62 * span and start > 0.3 * span
        axes.annotate(
            f"{milliseconds(end - began)}{waited}", (start if right else end, row),
            xytext=(-5 if right else 5, 0), textcoords="offset points", va="center", ha="right" if right else "left",
            fontsize=8,
        )  # fmt: skip
    if outcome.first < outcome.ended:
        first = (outcome.first - outcome.arrived) * 1e3
        axes.axvline(first, color=INK, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(shown)), [event.name for event in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, span * 1.22 if span > 0 else 1.0)
    if span == 0:
        axes.set_xticks([0])
    axes.grid(axis="y", visible=False)
    total = milliseconds((outcome.ended - outcome.arrived) * 1e3)
    more = f", {left_out} more events" if left_out > 0 else ""
    reason = f" ({outcome.reason})" if outcome.reason else ""
    axes.set_title(title(f"{name}, {total}{more}{reason}"))


def _legend(figure: Figure, events: Sequence[Event]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = [kind for kind in _KIND_WORDS if any(event.kind == kind for event in events)]
    handles: list[Any] = [Patch(color=_KIND_COLOURS[kind], label=_KIND_WORDS[kind]) for kind in kinds]
    if any(event.began > event.start for event in events):
        handles.append(Patch(facecolor="none", edgecolor=PALETTE[0], hatch="////", label="waits for a core"))
    handles.append(Line2D([], [], color=INK, linestyle=":", linewidth=1, label="first piece handed on"))
    figure.legend(handles=handles, loc="outside lower left", ncols=5, fontsize=8.5)
