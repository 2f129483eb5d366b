"""The figure of semantic caches before they serve: hits against wrong answers, for every threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import InputError, nearest
from evalkit.reporting.canvas import MARKERS, PALETTE, REST, WIDTH, canvas, title, wrapped
from evalkit.reporting.placing import Boxes, place, segment

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WORDS = {
    "hit_rate": "hit rate",
    "served_wrong": "wrong answers among all served",
    "wrong_share": "wrong answers among hits",
}
DASHES = (0, (4, 3))
_VERIFIED = "X"
_DENSE = 60
"""Points of a line beyond which they are not drawn one by one."""
_LABELS, _APART = 12, 60.0
"""Thresholds written along lines, and the least pixels between two of one line."""
_LINEAR = 1e-3
"""Shares of wrong answers are drawn on a logarithmic axis from here on, and on a linear one down to 0."""


@dataclass(frozen=True, eq=False)
class _Line:
    """What is drawn in one colour: thresholds of one guard and TTL, falling, and the rules that have none."""

    label: str
    rows: pd.DataFrame
    verified: pd.DataFrame
    colour: str
    marker: str

    @property
    def parts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self.rows, self.verified


def threshold_curves(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    kind: str = "all",
    budget: float | None = None,
    certified: str | Mapping[str, str] | None = None,
) -> Figure:
    """Draw the hit rate against the share of wrong answers, and both by threshold.

    Parameters
    ----------
    tables : DataFrame or {name: DataFrame}
        From `evalkit.serving.thresholds.tables.table`, or with simultaneous bands, which are drawn lighter around the
        intervals, from `banded_table`. Several are told apart by their names: embedders, or days.
    kind : str
        Of requests, where a table has rows of several.
    budget : float, optional
        Highest share of wrong answers among all, drawn as a line.
    certified : str or {name: str}, optional
        The label of the setting to be marked.

    Returns
    -------
    Figure
        A line for each guard and TTL; points for verified caches, which have no threshold.

    Raises
    ------
    InputError
        If there is nothing to draw, or a kind or label is unknown.
    """
    named = tables if isinstance(tables, Mapping) else {"": tables}
    chosen = {name: _of_kind(found, kind) for name, found in named.items()}
    lines = list(_lines(chosen))
    if not lines:
        raise InputError("threshold_curves: no setting to draw; give a table of a sweep")
    marks = list(_marked(chosen, certified))
    with canvas(WIDTH, 7.4 + 0.2 * math.ceil(len(lines) / 3)) as figure:
        grid = figure.add_gridspec(2, 3, height_ratios=(1.5, 1))
        main = figure.add_subplot(grid[0, :])
        _tradeoff(main, lines, budget)
        for column, share in enumerate(_WORDS):
            _by_threshold(figure.add_subplot(grid[1, column]), lines, share, budget)
        for place_of in marks:
            style = {"markersize": 15, "color": PALETTE[5], "markeredgecolor": "white", "zorder": 5}
            main.plot(*place_of, "*", label="certified", **style)
        _headed(figure, chosen, kind, lines)
        handles = dict(zip(*reversed(main.get_legend_handles_labels()), strict=True))
        if len(handles) > 1:
            figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=3, fontsize=8.5)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed by pixels
        _name(main, lines)
    return figure


def _of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    known = list(dict.fromkeys(table["kind"]))
    if len(table) and kind not in known:
        raise InputError(f"threshold_curves: no rows of kind '{kind}'{nearest(kind, known)}")
    return table[table["kind"] == kind]


def _lines(tables: Mapping[str, pd.DataFrame]) -> Iterator[_Line]:
    """Split tables into lines, named by what tells them apart."""
    parts: dict[tuple[str, str, float], pd.DataFrame] = {
        (name, guard, ttl): table[(table["guard"] == guard) & (table["ttl"] == ttl)]
        for name, table in tables.items()
        for guard, ttl in dict.fromkeys(zip(table["guard"], table["ttl"], strict=True))
    }
    several = [len({key[i] for key in parts}) > 1 for i in range(3)]
    styles = zip(cycle(PALETTE), cycle(MARKERS), strict=False)
    for (name, guard, ttl), rows in parts.items():
        words = [name] * several[0] + [f"guard {guard}"] * several[1] + [_ttl(ttl)] * several[2]
        plain = rows["threshold"].notna()
        falling = rows[plain].sort_values("threshold", ascending=False, kind="stable")
        yield _Line(", ".join(words) or "thresholds", falling, rows[~plain], *next(styles))


def _ttl(seconds: float) -> str:
    return "no TTL" if math.isinf(seconds) else f"TTL {seconds:g} s"


def _marked(
    tables: Mapping[str, pd.DataFrame], certified: str | Mapping[str, str] | None
) -> Iterator[tuple[float, float]]:
    """Yield the place of each setting that is to be marked."""
    wanted = certified if isinstance(certified, Mapping) else dict.fromkeys(tables, certified)
    for name, label in wanted.items():
        if label is None:
            continue
        known = list(tables[name]["label"]) if name in tables else []
        if label not in known:
            where = f" of '{name}'" if name else ""
            raise InputError(f"threshold_curves: no setting '{label}'{where}{nearest(label, known)}")
        row = tables[name].iloc[known.index(label)]
        yield float(row["served_wrong"]), float(row["hit_rate"])


def _tradeoff(axes: Axes, lines: list[_Line], budget: float | None) -> None:
    """Hit rate against wrong answers: to the right they are more, upwards more is saved."""
    from matplotlib.ticker import NullLocator

    shown = wrapped([line.label for line in lines])
    for line in lines:
        x, y = _points(line.rows)
        for low, high, alpha in _spreads(line.rows, "served_wrong"):
            axes.fill_betweenx(y, low, high, color=line.colour, alpha=alpha, linewidth=0)
        style = {"color": line.colour, "marker": line.marker, "label": shown[line.label]}
        axes.plot(x, y, linewidth=1.4, markersize=3.5 if len(x) < _DENSE else 0, **style)
        x, y = _points(line.verified)
        for values, share, along in ((x, "served_wrong", "xerr"), (y, "hit_rate", "yerr")):
            low, high = _ends(line.verified, share)
            ends = {along: [values - low, high - values]}
            axes.errorbar(x, y, fmt="none", ecolor=line.colour, elinewidth=0.8, alpha=0.6, **ends)
        axes.plot(x, y, _VERIFIED, color=line.colour, markersize=8, markeredgecolor="white", zorder=4)
    if any(len(line.verified) for line in lines):
        axes.plot([], [], _VERIFIED, color=REST, markersize=8, markeredgecolor="white", label="verified")
    if budget is not None:
        axes.axvline(budget, color=REST, linestyle=DASHES, linewidth=1.2, label=f"budget {percent(budget)}")
    axes.set_xscale("symlog", linthresh=_LINEAR, linscale=0.4)
    highest = max(float(rows["served_wrong_high"].max()) for line in lines for rows in line.parts if len(rows))
    ticks = [t for t in (0, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1) if t <= max(highest, _LINEAR)]
    axes.set_xticks(ticks, [percent(t) for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-_LINEAR / 20, 1.1 * max(highest, 2 * _LINEAR, budget or 0.0))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: percent(value))
    axes.set_title("hits against wrong answers")
    axes.set(
        xlabel=f"{_WORDS['served_wrong']}, lower is better (linear up to {percent(_LINEAR)}, then logarithmic)",
        ylabel="hit rate, higher is better",
    )


def _by_threshold(axes: Axes, lines: list[_Line], share: str, budget: float | None) -> None:
    for line in lines:
        for value in line.verified[share]:
            axes.axhline(value, color=line.colour, linewidth=0.9, linestyle=":")
        x, y = line.rows["threshold"].to_numpy(), line.rows[share].to_numpy()
        for low, high, alpha in _spreads(line.rows, share):
            axes.fill_between(x, low, high, color=line.colour, alpha=alpha, linewidth=0)
        axes.plot(x, y, color=line.colour, linewidth=1.4)
    if budget is not None and share == "served_wrong":
        axes.axhline(budget, color=REST, linestyle=DASHES, linewidth=1.2)
    axes.set_title(_WORDS[share].replace(" among", "\namong"))
    axes.set_xlabel("threshold (cosine)")
    axes.yaxis.set_major_formatter(lambda value, _: percent(value))
    axes.locator_params(axis="x", nbins=5)
    values = np.concatenate([rows[share].to_numpy(dtype=np.float64) for line in lines for rows in line.parts])
    highest = float(np.nanmax(values, initial=0.0))
    axes.set_ylim(0, min(axes.get_ylim()[1], max(2 * highest, 4 * _LINEAR)))  # few hits: an interval up to 100 %


def _spreads(rows: pd.DataFrame, share: str) -> Iterator[tuple[Any, Any, float]]:
    """Yield ends and opacity of what is drawn around a line: the simultaneous band, then the intervals."""
    for ending, alpha in (("_band", 0.1), ("", 0.18)):
        if f"{share}{ending}_low" in rows:
            yield *_ends(rows, f"{share}{ending}"), alpha


def _ends(rows: pd.DataFrame, share: str) -> tuple[Any, Any]:
    low, high = (rows[f"{share}_{end}"].to_numpy(dtype=np.float64) for end in ("low", "high"))
    return low, high


def _points(rows: pd.DataFrame) -> tuple[Any, Any]:
    """Return shares of wrong answers, and hit rates."""
    return rows["served_wrong"].to_numpy(dtype=np.float64), rows["hit_rate"].to_numpy(dtype=np.float64)


def percent(share: float) -> str:
    """Print a share with three digits that matter."""
    return f"{100 * share:.3g} %"


def _headed(figure: Figure, tables: Mapping[str, pd.DataFrame], kind: str, lines: list[_Line]) -> None:
    sizes = sorted({int(n) for table in tables.values() for n in table["requests"]})
    n = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    of = "requests" if kind == "all" else f"requests of kind '{kind}'"
    banded = any("hit_rate_band_low" in line.rows for line in lines)
    text = f"Every threshold for {n} {of}, with 95 % intervals"
    figure.suptitle(title(text + banded * " (lighter: all at once)"), x=0.01, ha="left")


def _name(axes: Axes, lines: list[_Line]) -> None:
    """Write the rules beside points: verified ones, and thresholds along the lines, as many as find room."""
    fixed = [_verified(line) for line in lines]
    spaced = [_spaced(axes, line, max(3, _LABELS // len(lines))) for line in lines]
    while any(fixed) or any(spaced):
        pairs = zip(lines, fixed, spaced, strict=True)
        colours, named = zip(*((line.colour, one) for line, *own in pairs for one in chain(*own)), strict=True)
        where, texts = [(x, y) for x, y, _ in named], [text for *_, text in named]
        if place(axes, where, texts, size=7.5, obstacles=_drawn(axes, lines)):
            for text in axes.texts if len(lines) > 1 else ():
                text.set_color(colours[named.index((*text.xy, text.get_text()))])
            return
        if any(spaced):
            spaced = [own[:-1] for own in spaced]
        else:
            fixed = [own[:-1] for own in fixed]


def _verified(line: _Line) -> list[tuple[float, float, str]]:
    points = zip(*_points(line.verified), line.verified["rule"], strict=True)
    return [(float(x), float(y), rule) for x, y, rule in points]


def _spaced(axes: Axes, line: _Line, most: int) -> list[tuple[float, float, str]]:
    """Return points of a line with their thresholds, far enough apart; the first and the last are among them."""
    if not len(line.rows):
        return []
    (x, y), at = _points(line.rows), line.rows["threshold"].to_numpy(dtype=np.float64)
    pixels = np.asarray(axes.transData.transform(np.column_stack([x, y])))
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(pixels, axis=0).T))])
    steps = min(most, 1 + int(along[-1] // _APART))
    nearest_to = [int(np.argmin(np.abs(along - w))) for w in np.linspace(0, along[-1], steps)]
    return [(float(x[i]), float(y[i]), f"{at[i]:.4g}") for i in dict.fromkeys(nearest_to)]


def _drawn(axes: Axes, lines: list[_Line]) -> Boxes:
    """Return where lines run, as small boxes in pixels."""
    boxes = [np.empty((0, 4))]
    for line in lines:
        if len(line.rows):
            points = axes.transData.transform(np.column_stack(_points(line.rows)))
            steps = np.linspace(0, len(points) - 1, 200)
            places = np.column_stack([np.interp(steps, np.arange(len(points)), column) for column in points.T])
            boxes.append(np.hstack([places - 2, places + 2]))
        for share, along in (("served_wrong", 0), ("hit_rate", 1)):
            for point, low, high in zip(
                zip(*_points(line.verified), strict=True), *_ends(line.verified, share), strict=True
            ):
                ends = [tuple(end if i == along else point[i] for i in (0, 1)) for end in (low, high)]
                boxes.append(np.array([segment(axes, *ends)]))
    return np.concatenate(boxes)
