"""Figures show the numbers of the summary, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest

from evalkit.errors import InputError
from evalkit.evaluate.results import Results
from evalkit.reporting import intervals, stages, sweep_lines, tradeoff, waterfall
from evalkit.reporting.canvas import png, svg, wrapped
from evalkit.reporting.figures import pareto

ALL = {
    "intervals": intervals,
    "stages": stages,
    "sweep_lines": sweep_lines,
    "tradeoff": tradeoff,
    "waterfall": waterfall,
}
BASE = "chunk.size=64 retrieve.k=3"


def ends(bar: Any, axis: int = 0) -> tuple[float, float]:
    """Return where an error bar begins and ends."""
    (line,) = bar.lines[2][axis].get_segments() if len(bar.lines[2]) > axis else bar.lines[2][0].get_segments()
    return line[:, axis].min(), line[:, axis].max()


def row(results: Results, variant: str, metric: str) -> Any:
    found = results.summary
    return next(found[(found["variant"] == variant) & (found["metric"] == metric)].itertuples())


@pytest.mark.parametrize("name", ALL)
def test_every_figure_has_a_title_and_every_axis_a_label(results: Results, name: str) -> None:
    figure = ALL[name](results)
    assert figure.get_suptitle()
    assert all(axes.get_xlabel() for axes in figure.axes if axes.get_visible())


@pytest.mark.parametrize("name", ALL)
def test_no_text_is_clipped_however_long_the_names(named: Callable[[Iterable[str]], Results], name: str) -> None:
    labels = [
        f"retrieve=Hybrid(alpha={i}, c=60) chunk=Recursive(size=128) generate.prompt=x{'y' * 60}" for i in range(4)
    ]
    results = named(labels)
    results.manifest["parameters"].update({n: {"retrieve.k": i, "chunk.size": n} for i, n in enumerate(labels)})
    figure = ALL[name](results)
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > 0
    for axes in figure.axes:
        assert axes.get_window_extent().width > 0.2 * width * figure.dpi / len(figure.axes)
        for box in [text.get_window_extent() for text in axes.texts]:  # those that the layout leaves out
            assert min(box.x0, width * figure.dpi - box.x1) > 0


@pytest.mark.parametrize("name", ALL)
def test_figures_stay_away_from_pyplot_and_the_users_style(results: Results, name: str) -> None:
    import matplotlib as mpl
    from matplotlib import _pylab_helpers

    before = dict(mpl.rcParams)
    ALL[name](results)
    assert dict(mpl.rcParams) == before
    assert not _pylab_helpers.Gcf.figs


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_shows_a_figure_without_pyplot(results: Results, name: str) -> None:
    assert ALL[name](results)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ALL)
def test_the_same_results_give_the_same_bytes(results: Results, name: str) -> None:
    first, second = ALL[name](results), ALL[name](results)
    assert png(first) == png(second)
    assert svg(first, "a") == svg(second, "a")


def test_dollars_and_underscores_in_names_stay_what_they_are(named: Callable[[Iterable[str]], Results]) -> None:
    labels = ["price=$5 or $x_{", "_hidden", "<script>"]
    figure = intervals(named(labels))
    png(figure)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [f"{labels[0]} (base)", *labels[1:]]


def test_names_that_fonts_lack_raise_no_warning(named: Callable[[Iterable[str]], Results]) -> None:
    png(stages(named(["検索", "🦊"])))


def test_importing_the_package_loads_no_plotting() -> None:
    code = "import sys, evalkit.reporting; print([m for m in ('matplotlib', 'jinja2', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_intervals_has_a_panel_a_metric_and_a_row_a_variant(results: Results) -> None:
    figure = intervals(results, ["ndcg@10", "P50"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["nDCG@10", "P50 latency (ms)"]
    for axes, metric in zip(figure.axes, ["nDCG@10", "P50"], strict=True):
        for at, (bar, variant) in enumerate(zip(axes.containers, results.systems, strict=True)):
            known = row(results, variant, metric)
            assert bar.lines[0].get_xydata().tolist() == [[known.value, at]]
            assert ends(bar) == pytest.approx((known.low, known.high))


def test_intervals_marks_the_base(results: Results) -> None:
    axes = intervals(results, ["nDCG@10"]).axes[0]
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert [text for text in labels if "(base)" in text] == [f"{BASE} (base)"]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [row(results, BASE, "nDCG@10").value]


def test_an_interval_without_an_upper_end_gets_an_arrow(results: Results) -> None:
    axes = intervals(results, ["P95"]).axes[0]
    assert sum(line.get_marker() == ">" for line in axes.lines) == len(results.systems)
    assert np.isfinite(axes.get_xlim()).all()


def test_by_default_intervals_leaves_out_what_has_no_closed_interval(results: Results) -> None:
    titles = [axes.get_title(loc="left") for axes in intervals(results).axes if axes.get_visible()]
    assert titles == ["nDCG@10", "prompt tokens", "P50 latency (ms)"]


def test_a_metric_that_a_variant_lacks_is_said_to_be_missing(results: Results) -> None:
    gone = (results.summary["variant"] == BASE) & (results.summary["metric"] == "nDCG@10")
    axes = intervals(replace(results, summary=results.summary[~gone]), ["nDCG@10"]).axes[0]
    assert [t.get_text() for t in axes.texts] == ["not measured"]


def test_tradeoff_draws_both_intervals_of_every_variant(results: Results) -> None:
    axes = tradeoff(results, x="PromptTokens").axes[0]
    for bar, variant in zip(axes.containers, results.systems, strict=True):
        across, up = row(results, variant, "PromptTokens"), row(results, variant, "nDCG@10")
        assert bar.lines[0].get_xydata().tolist() == [[across.value, up.value]]
        assert ends(bar, 0) == pytest.approx((across.low, across.high))
        assert ends(bar, 1) == pytest.approx((up.low, up.high))


def test_the_front_holds_what_no_other_beats() -> None:
    points = {"cheap": (1.0, 0.5), "dear": (9.0, 0.9), "beaten": (2.0, 0.4), "as good but dearer": (2.0, 0.5)}
    assert pareto(points, x_higher=False, y_higher=True) == {"cheap", "dear"}
    assert pareto(points, x_higher=True, y_higher=True) == {"dear"}


def test_equal_points_are_both_on_the_front() -> None:
    assert pareto({"a": (1.0, 1.0), "b": (1.0, 1.0)}, x_higher=False, y_higher=True) == {"a", "b"}


@pytest.mark.parametrize("n", [6, 20, 40])
def test_labels_of_points_overlap_neither_one_another_nor_a_point(
    named: Callable[[Iterable[str]], Results], n: int
) -> None:
    from matplotlib.text import Text

    figure = tradeoff(named([f"retrieve.k={i}" for i in range(n)]), x="PromptTokens")
    axes = figure.axes[0]
    texts = [t for t in axes.texts if t.get_text()]
    assert len(texts) == n
    boxes = [Text.get_window_extent(t) for t in texts]  # the text alone, without its line to the point
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    points = axes.transData.transform([bar.lines[0].get_xydata()[0] for bar in axes.containers])
    assert not any(box.contains(*point) for box in boxes for point in points)


def test_many_points_get_numbers_and_a_key(named: Callable[[Iterable[str]], Results]) -> None:
    figure = tradeoff(named([f"retrieve.k={i}" for i in range(60)]), x="PromptTokens")
    key = [t.get_text().strip("\u2007") for t in figure.legends[-1].get_texts()]
    assert figure.get_tightbbox().y0 > 0
    assert key[0] == "1  retrieve.k=0"
    assert key[-1] == "60  retrieve.k=59"
    assert {t.get_text() for t in figure.axes[0].texts} == {str(i + 1) for i in range(60)}


def test_waterfall_lays_stages_end_to_end_in_the_order_of_the_pipeline(results: Results) -> None:
    axes = waterfall(results).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "embed",
        "search",
        "generate",
        "between stages",
        "total",
    ]
    bars = axes.patches
    for before, after in pairwise(bars[:-1]):
        assert after.get_x() == pytest.approx(before.get_x() + before.get_width())
    assert bars[-1].get_x() == 0
    assert bars[-1].get_width() == pytest.approx(row(results, BASE, "Mean").value)
    assert bars[-2].get_x() + bars[-2].get_width() == pytest.approx(bars[-1].get_width())


def test_waterfall_says_milliseconds_and_share(results: Results) -> None:
    texts = [t.get_text() for t in waterfall(results).axes[0].texts]
    total = row(results, BASE, "Mean").value
    known = row(results, BASE, 'Mean(stage="generate")').value
    assert texts[2] == f"{known:.1f} ms · {known / total:.1%}"
    assert texts[3] == f"0.60 ms · {0.6 / total:.1%}"
    assert texts[4] == f"{total:.1f} ms"


def test_waterfall_leaves_out_a_rest_too_small_to_matter(results: Results) -> None:
    rows = results.per_query.copy()
    rows.loc[rows["metric"] == "ms", "value"] -= 0.55
    axes = waterfall(replace(results, per_query=rows)).axes[0]
    assert "between stages" not in [t.get_text() for t in axes.get_yticklabels()]


def test_a_stage_that_some_queries_skip_counts_as_nothing_for_them(results: Results) -> None:
    rows = results.per_query
    kept = rows[~((rows["metric"] == "ms[search]") & rows["query"].isin([f"q{i}" for i in range(6, 12)]))]
    full = waterfall(results).axes[0].patches[1].get_width()
    assert waterfall(replace(results, per_query=kept)).axes[0].patches[1].get_width() == pytest.approx(
        full / 2, rel=0.05
    )


def test_stages_stacks_each_variants_stages_up_to_its_total(results: Results) -> None:
    axes = stages(results).axes[0]
    for at, variant in enumerate(results.systems):
        own = [p for p in axes.patches if p.get_y() < at < p.get_y() + p.get_height()]
        assert sum(p.get_width() for p in own) == pytest.approx(row(results, variant, "Mean").value)


def test_a_stage_of_one_variant_keeps_its_place_in_the_pipeline(results: Results) -> None:
    last, rows = list(results.systems)[-1], results.per_query
    own = rows[(rows["variant"] == last) & (rows["metric"] == "ms[search]")].assign(metric="ms[fuse]")
    at = int(np.flatnonzero((rows["variant"] == last) & (rows["metric"] == "ms[search]"))[0]) + 1
    import pandas as pd

    changed = replace(results, per_query=pd.concat([rows[:at], own, rows[at:]]))
    legend = [t.get_text() for t in stages(changed).legends[0].get_texts()]
    assert legend[:4] == ["embed", "search", "fuse", "generate"]


def test_sweep_lines_draws_a_line_a_value_with_the_summarys_intervals(results: Results) -> None:
    axes = sweep_lines(results).axes[0]
    assert [bar.get_label() for bar in axes.containers] == ["chunk.size = 64", "chunk.size = 128"]
    for bar, size in zip(axes.containers, (64, 128), strict=True):
        known = [row(results, f"chunk.size={size} retrieve.k={k}", "nDCG@10") for k in (1, 3, 10)]
        assert bar.lines[0].get_xydata().tolist() == [[k, r.value] for k, r in zip((1, 3, 10), known, strict=True)]
        spans = [(s[:, 1].min(), s[:, 1].max()) for s in bar.lines[2][0].get_segments()]
        assert spans == [pytest.approx((r.low, r.high)) for r in known]


def test_sweep_lines_orders_numbers_by_size_and_names_as_they_come(results: Results) -> None:
    known = {n: {**p, "retrieve.k": 11 - p["retrieve.k"]} for n, p in results.manifest["parameters"].items()}
    changed = replace(results, manifest={**results.manifest, "parameters": known})
    line = sweep_lines(changed).axes[0].containers[0].lines[0]
    assert line.get_xdata().tolist() == [1, 8, 10]
    words = {n: {**p, "retrieve.k": f"k{p['retrieve.k']}"} for n, p in known.items()}
    axes = sweep_lines(replace(results, manifest={**results.manifest, "parameters": words})).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["k10", "k8", "k1"]


def test_sweep_lines_never_averages_variants_that_differ_otherwise(results: Results) -> None:
    with pytest.raises(InputError, match=r"fall on the same point of retrieve\.k; they differ in chunk\.size"):
        sweep_lines(results, by=None)


def test_two_long_names_that_would_look_alike_are_told_apart() -> None:
    start, end = "word " * 40, " the end"
    shown = wrapped([f"{start}one{end}", f"{start}two{end}"], 30)
    assert len(set(shown.values())) == 2


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda r: intervals(r, ["ndgc@10"]), "metric 'ndgc@10' was not measured; did you mean 'nDCG@10'?"),
        (lambda r: tradeoff(r, x="P51"), "metric 'P51' was not measured; did you mean 'P95'?"),
        (lambda r: waterfall(r, "chunk.size=64 retrieve.k=4"), "no system 'chunk.size=64 retrieve.k=4'"),
        (
            lambda r: sweep_lines(r, x="retreive.k"),
            "no variant has a parameter 'retreive.k'; did you mean 'retrieve.k'?",
        ),
        (
            lambda r: sweep_lines(r, by="chunk.sise"),
            "no variant has a parameter 'chunk.sise'; did you mean 'chunk.size'?",
        ),
        (lambda r: intervals(r, []), "no metric to draw"),
    ],
)
def test_an_unknown_name_is_an_error_that_offers_the_nearest(
    results: Results, draw: Callable[[Results], Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        draw(results)
    assert message in str(caught.value)


@pytest.mark.parametrize("draw", [waterfall, stages])
def test_latency_that_was_not_measured_is_an_error_that_says_how(
    untimed: Results, draw: Callable[[Results], Any]
) -> None:
    with pytest.raises(InputError, match="timed; run with timing"):
        draw(untimed)
