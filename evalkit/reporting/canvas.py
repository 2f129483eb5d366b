"""What all figures share: colours, sizes, words, and files that are the same whenever the results are."""

from __future__ import annotations

import io
import logging
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from evalkit.evaluate.results import better_when_higher
from evalkit.metrics import (
    CostMetric,
    DollarsPer1000,
    FirstText,
    FirstToken,
    InterToken,
    LatencyMetric,
    MetricError,
    Tokens,
    parse,
)
from evalkit.metrics.streaming import DelayMetric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#24292f"
"""Text and axes; inside a page this becomes the page's own colour."""
REST = "#8c959f"
"""What belongs to no stage, and everything that stands back."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A5C99")
"""Okabe and Ito's colours, which colour-blind readers tell apart, without the yellow and black that vanish on light
or dark pages."""
MARKERS = "osD^vPX"
DPI = 100
WIDTH = 9.0
"""Inches; 900 pixels fit a notebook's column."""

_STYLE = {
    "font.size": 9.5, "axes.titlesize": 10.5, "axes.titlelocation": "left", "axes.titleweight": "bold",
    "figure.titlesize": 11, "figure.titleweight": "bold", "figure.dpi": DPI, "savefig.dpi": DPI,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": REST, "grid.alpha": 0.3, "grid.linewidth": 0.6, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "text.parse_math": False,  # a dollar in a label is a dollar
    "svg.hashsalt": "evalkit", "svg.fonttype": "path",
}  # fmt: skip


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Yield a figure to draw on, apart from pyplot and from the user's style; it is laid out at the end.

    Parameters
    ----------
    width, height : float
        In inches.
    """
    with quiet():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        with _styled():
            figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.07))
            FigureCanvasAgg(figure)
            figure.__dict__["_repr_png_"] = partial(png, figure)  # notebooks show pyplot's figures only
            yield figure
            figure.draw_without_rendering()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep matplotlib's remarks on fonts and caches from the user's terminal."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"(?s).*(Glyph|constrained_layout|Axes that are not)")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG image."""
    return _saved(figure, format="png", facecolor="white", metadata={"Software": None})


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element for a page: in the page's text colour, its ids apart from other figures'.

    Parameters
    ----------
    figure : Figure
    name : str
        Begins every id.
    """
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    text = _saved(figure, format="svg", transparent=True, metadata=nothing).decode()
    text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace(INK, "currentColor")


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with quiet(), _styled():
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def wrapped(labels: Iterable[str], width: int = 34, lines: int = 3) -> dict[str, str]:
    """Return labels as they stand in figures: broken into lines, the middle left out where there are too many.

    Two labels that would then look alike get a number.
    """
    shown: dict[str, str] = {}
    for label in labels:
        rows = textwrap.wrap(label, width) or [label]
        if len(rows) > lines:
            half = (width * lines - (width // 2 if lines > 1 else 1)) // 2
            rows = textwrap.wrap(f"{label[:half]}…{label[-half:]}", width)
        text = "\n".join(rows)
        shown[label] = f"{text} (#{len(shown) + 1})" if text in shown.values() else text
    return shown


def title(text: str, inches: float = WIDTH) -> str:
    """Return a title broken to fit a figure's width."""
    return "\n".join(textwrap.wrap(text, int(inches * 11.5)))


_DELAYS: dict[type[DelayMetric], str] = {
    FirstToken: "first token",
    FirstText: "first words",
    InterToken: "time per token",
}


def metric_words(metric: str) -> str:
    """Return what a metric is called in figures: with its unit, where it has one."""
    if metric == "PromptTokens":
        return "prompt tokens"
    if metric == "Chunks":
        return "chunks"
    if metric == "Truncated":
        return "share of text cut off"
    try:
        parsed = parse(metric)
    except MetricError:
        return metric
    if isinstance(parsed, DelayMetric):
        quantile = getattr(parsed, "q", 0.5)
        which = "median" if quantile == 0.5 else f"P{100 * quantile:g}"
        what = _DELAYS.get(type(parsed), type(parsed).__name__)
        return f"{which} {what}{' after the call' * (getattr(parsed, 'since', '') == 'call')} (ms)"
    if isinstance(parsed, CostMetric):
        where = "".join(f" of {part}" for part in (parsed.stage, parsed.model) if part)
        return f"{_cost_words(parsed)}{where}"
    if not isinstance(parsed, LatencyMetric):
        return metric
    kind = type(parsed).__name__.replace("Mean", "mean")
    return f"{kind} latency of {parsed.stage} (ms)" if parsed.stage else f"{kind} latency (ms)"


def _cost_words(metric: CostMetric) -> str:
    if isinstance(metric, Tokens):
        return f"{metric.kind.replace('_', ' ')} tokens" if metric.kind else "tokens"
    return "$ per 1,000 queries" if isinstance(metric, DollarsPer1000) else "$ per query"


def direction_words(metric: str) -> str:
    """Return which way a metric is better."""
    return "higher is better" if better_when_higher(metric) else "lower is better"


def axis_words(metric: str) -> str:
    """Return an axis label: the metric, its unit, and which way is better."""
    kind = metric_words(metric)
    quantile = "latency" in kind or re.match(r"median |P[\d.]+ ", kind) is not None
    mean = "mean " if not quantile and metric not in ("Chunks", "Truncated") else ""
    return f"{mean}{kind}, {direction_words(metric)}"


def milliseconds(value: float) -> str:
    """Print milliseconds with three digits that matter, never more than three after the point."""
    if not math.isfinite(value):
        return "? ms"
    digits = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f} ms"
