"""A figure of a factorial design: what switches do alone and together, and what adding them up promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import InputError, nearest
from evalkit.metrics import P95, DollarsPer1000, Mean
from evalkit.reporting.canvas import INK, PALETTE, REST, canvas, metric_words, title, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.serving.results.factorial import Factorial

_SURE = 0.05
_WIDTH = 11.0
_WORDS = {
    "ServedWrong": "wrong hits (%)",
    "worse": "answers worse (%)",
    "lost": "answers lost (%)",
    str(DollarsPer1000()): "$ per 1,000 requests",
}
_STATED = "stated for everything"
_BARS = (
    ("nothing", REST),
    ("changes added up", PALETTE[5]),
    ("ratios multiplied", PALETTE[4]),
    ("measured", PALETTE[0]),
)


def factorial_effects(
    found: Factorial, metrics: Sequence[str] = (str(Mean()), str(P95()), str(DollarsPer1000()), "worse")
) -> Figure:
    """Draw main effects and interactions, and below them what is promised for everything on against what came.

    Parameters
    ----------
    found : Factorial
    metrics : sequence of str
        A column each, of those in `Factorial.additive`.

    Returns
    -------
    Figure
        Above, effects with 95 % intervals; a full marker: p below 0.05 after Holm's correction. Below, everything on:
        what the changes of the single switches promise added up, what their ratios promise multiplied (where nothing
        on gives 0 there is none), and what was measured. A dashed line is what a document states, where it does.

    Raises
    ------
    InputError
        If there is no such metric, or none is given.
    """
    known = list(dict.fromkeys(found.additive["metric"]))
    if not metrics:
        raise InputError("factorial_effects: no metric; name at least one")
    if unknown := [name for name in metrics if name not in known]:
        raise InputError(f"factorial_effects: no metric '{unknown[0]}'{nearest(unknown[0], known)}")
    terms = sorted(dict.fromkeys(found.effects["term"]), key=lambda term: str(term).count(" x "))
    labels = wrapped(terms, 30)
    with canvas(_WIDTH, 3.4 + 0.42 * len(terms)) as figure:
        grid = figure.subplots(
            2, len(metrics), squeeze=False, gridspec_kw={"height_ratios": [0.42 * len(terms) + 0.6, 2.0]}
        )
        for column, name in enumerate(metrics):
            rows = found.effects[found.effects["metric"] == name].set_index("term").loc[terms]
            _effects(grid[0, column], rows, _scale(name))
            grid[0, column].set_title(_WORDS.get(name, metric_words(name)))
            grid[0, column].set_yticks(range(len(terms)), [labels[t] if not column else "" for t in terms])
            grid[0, column].tick_params(axis="y", length=0)
            _promises(grid[1, column], found, name)
        grid[0, 0].set_xlabel("change when switched on; for interactions half the difference", loc="left")
        grid[1, 0].set_ylabel("everything on")
        drawn = {
            text: handle for axes in grid[1] for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        shown = [text for text in (*(text for text, _ in _BARS), _STATED) if text in drawn]
        figure.legend([drawn[text] for text in shown], shown, loc="outside lower left", ncols=5, fontsize=8.5)
        n = len(next(iter(found.replays.values())).outcomes)
        words = f"{len(found.factors)} switches in all {len(found.replays)} combinations over the same {n:,} requests"
        figure.suptitle(title(f"{words}, with 95 % intervals ({found.origin})", _WIDTH), x=0.01, ha="left")
    return figure


def _scale(name: str) -> float:
    return 100.0 if name in ("ServedWrong", "worse", "lost") else 1.0


def _effects(axes: Axes, rows: pd.DataFrame, scale: float) -> None:
    """Draw a row a term, the first on top."""
    value, low, high = (rows[c].to_numpy(dtype=np.float64) * scale for c in ("value", "low", "high"))
    places, sure = np.arange(len(rows)), rows["p"].to_numpy() < _SURE
    interaction = np.array([" x " in term for term in rows.index])
    for chosen, colour in ((~interaction, PALETTE[0]), (interaction, PALETTE[1])):
        for filled in (True, False):
            mask = chosen & (sure == filled)
            ends = np.nan_to_num(np.array([value - low, high - value])[:, mask], posinf=0.0)
            axes.errorbar(
                value[mask], places[mask], xerr=ends, fmt="o", color=colour, markersize=5, capsize=2.5, linewidth=1.2,
                markerfacecolor=colour if filled else "white",
            )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.12)


def _promises(axes: Axes, found: Factorial, name: str) -> None:
    scale, cells = _scale(name), found.cells
    rows = found.additive[found.additive["metric"] == name]
    promised = dict(zip(rows["how"], rows["promised"], strict=True))
    nothing, measured = (cells[name].to_numpy(dtype=np.float64)[place] * scale for place in (0, -1))
    low, high = (cells[f"{name} {end}"].to_numpy(dtype=np.float64)[-1] * scale for end in ("low", "high"))
    heights = [nothing, *(promised.get(how, np.nan) * scale for how in ("sum", "product")), measured]
    tops = [*heights[:-1], high if np.isfinite(high) else measured]
    for place, ((bar, colour), height, top) in enumerate(zip(_BARS, heights, tops, strict=True)):
        axes.bar(place, height, color=colour, width=0.75, label=bar)
        below = height < 0
        axes.annotate(
            _number(height), (place, top if np.isfinite(height) else 0.0), xytext=(0, -2 if below else 2),
            textcoords="offset points", ha="center", va="top" if below else "bottom", fontsize=8, zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip
    ends = np.nan_to_num(np.array([[measured - low], [high - measured]]), posinf=0.0)
    axes.errorbar(len(_BARS) - 1, measured, yerr=np.maximum(ends, 0.0), fmt="none", ecolor=INK, capsize=3, lw=1.2)
    if "all" in found.stated.get(name, {}):
        before, after = found.stated[name]["all"]
        axes.axhline(after / before * nothing, color=PALETTE[3], linestyle=(0, (4, 3)), linewidth=1.3, label=_STATED)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks([])
    axes.margins(y=0.18)
    axes.grid(axis="x", visible=False)


def _number(height: float) -> str:
    if not np.isfinite(height):
        return "none"
    return f"{height:,.0f}" if abs(height) >= 100 else f"{height:.2g}" if abs(height) < 1 else f"{height:.3g}"
