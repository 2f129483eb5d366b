"""The figure of a certificate as it ages: whether later traffic keeps the budget of wrong answers."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import InputError
from evalkit.reporting.canvas import MARKERS, PALETTE, REST, WIDTH, canvas, title, wrapped
from evalkit.reporting.thresholds import DASHES, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_VERDICTS = {"holds": PALETTE[2], "broken": PALETTE[1], "cannot tell": REST}


def ageing_figure(windows: pd.DataFrame, *, budget: float, words: str = "wrong answers among all served") -> Figure:
    """Draw what a certificate is worth in later stretches of traffic.

    Parameters
    ----------
    windows : DataFrame
        A row a stretch, in order: ``window`` (its name or number), ``value``, ``low``, ``high`` (its share and 95 %
        interval), ``verdict``.
    budget : float
        What was certified, drawn as a line.
    words : str
        What the share is of.

    Returns
    -------
    Figure
        Coloured by verdict. A stretch without requests has no point, and keeps its place.

    Raises
    ------
    InputError
        If there is no stretch, or a column is missing.
    """
    missing = {"window", "value", "low", "high", "verdict"} - set(windows.columns)
    if missing or not len(windows):
        what = f"columns missing: {', '.join(sorted(missing))}" if missing else "no window to draw"
        raise InputError(f"ageing_figure: {what}; give a row for each stretch of traffic")
    value, low, high = (windows[name].to_numpy(dtype=np.float64) for name in ("value", "low", "high"))
    at, rest = np.arange(len(windows)), cycle(PALETTE)
    with canvas(WIDTH, 4.2) as figure:
        axes = figure.subplots()
        for number, verdict in enumerate(dict.fromkeys(windows["verdict"])):
            rows = (windows["verdict"] == verdict).to_numpy() & np.isfinite(value)
            colour, marker = _VERDICTS.get(verdict) or next(rest), MARKERS[number % len(MARKERS)]
            ends = [value[rows] - low[rows], high[rows] - value[rows]]
            axes.errorbar(
                at[rows], value[rows], yerr=ends, fmt=marker, color=colour, capsize=2.5, markersize=5, label=verdict
            )  # fmt: skip
        axes.axhline(budget, color=REST, linestyle=DASHES, linewidth=1.2, label=f"budget {percent(budget)}")
        axes.set_xticks(at, wrapped(str(w) for w in windows["window"]).values())
        axes.set_title(words)
        axes.set_xlabel("window of the traffic")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda share, _: percent(share))
        figure.suptitle(title("The certificate in later traffic, with 95 % intervals"), x=0.01, ha="left")
        figure.legend(loc="outside lower left", ncols=4, fontsize=8.5)
    return figure
