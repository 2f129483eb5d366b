"""The figure of routers draws what the curves say."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from evalkit.errors import InputError
from evalkit.reporting.canvas import png, svg
from evalkit.reporting.routers import router_curves
from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.serving.routers.route_curves import RouteCurves, route_curves


@pytest.fixture(scope="module")
def curves() -> RouteCurves:
    """A router with a signal, one of three tiers, and a cascade."""
    rng, n = np.random.default_rng(0), 240
    hard = rng.normal(size=n)
    weak = hard + rng.normal(size=n) < 0.3
    quality = np.column_stack([weak, weak | (rng.random(n) < 0.6)]).astype(float)
    usd = np.column_stack([rng.uniform(1, 2, n), rng.uniform(20, 60, n)]) * 1e-4
    outcomes = RecordedOutcomes(
        "questions",
        ("someone/a-small-model", "a-big-model"),
        tuple(f"question {i}" for i in range(n)),
        (("a", "b"),) * n,
        quality,
        usd,
    )
    routers: Any = {
        "a signal": hard,
        "three tiers, by chance": rng.integers(0, 3, n).astype(float),
        "a $ sign": -hard,
    }
    return route_curves(outcomes, routers, resamples=300, points=31)


def test_lines_are_the_curves_and_markers_the_thresholds(curves: RouteCurves) -> None:
    (axes,) = router_curves(curves).axes
    table, points = curves.table.set_index("router"), curves.curve
    lines = {line.get_label(): line for line in axes.lines}
    weak, strong = curves.alone.iloc[0], curves.alone.iloc[1]
    chance = lines["random, exact expectation"]
    np.testing.assert_allclose(chance.get_xdata(), [weak["usd_per_1000"], strong["usd_per_1000"]])
    np.testing.assert_allclose(chance.get_ydata(), [weak["quality"], strong["quality"]])
    drawn = [(line.get_xdata(), line.get_ydata()) for line in axes.lines]
    for name, row in table.iterrows():
        rows = points[points["router"] == name]
        assert any(len(x) == len(rows) and np.allclose(x, rows["usd_per_1000"]) and np.allclose(y, rows["quality"])
                   for x, y in drawn), name  # fmt: skip
        label = next(text for text in lines if text.startswith(f"{name}: "))
        assert label.replace("\n", " ") == f"{name}: {row['curve_verdict']}"
        assert lines[label].get_xdata()[0] == pytest.approx(row["usd_per_1000"])
        assert lines[label].get_ydata()[0] == pytest.approx(row["quality"])


def test_bands_are_intervals_of_the_difference_to_chance(curves: RouteCurves) -> None:
    (axes,) = router_curves(curves, ["a signal"]).axes
    (band,) = [area for area in axes.collections if type(area).__name__.startswith(("Poly", "FillBetween"))]
    rows = curves.curve[curves.curve["router"] == "a signal"]
    corners = {tuple(np.round(corner, 9)) for corner in band.get_paths()[0].vertices}
    for end in ("vs_random_low", "vs_random_high"):
        for x, y in zip(rows["usd_per_1000"], rows["random"] + rows[end], strict=True):
            assert (round(x, 9), round(y, 9)) in corners


def test_the_figure_is_titled_labelled_whole_and_the_same_each_time(curves: RouteCurves) -> None:
    def drawing(figure: Any) -> str:
        names: dict[str, str] = {}
        return re.sub(r"x-[pmh][0-9a-f]{10}", lambda m: names.setdefault(m[0], str(len(names))), svg(figure, "x"))

    figure = router_curves(curves, swapped=True)
    (axes,) = figure.axes
    assert figure.get_suptitle()
    assert axes.get_title(loc="left").startswith("120 prompts of the first half")
    assert axes.get_xlabel() == "$ per 1,000 prompts"
    assert {"a-small-model", "a-big-model", "oracle"} == {text.get_text() for text in axes.texts}
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > 0
    assert drawing(router_curves(curves, swapped=True)) == drawing(figure)
    assert png(figure)[:4] == b"\x89PNG"


def test_a_router_that_is_not_there_is_named(curves: RouteCurves) -> None:
    with pytest.raises(InputError, match="no router 'a signl'; did you mean 'a signal'"):
        router_curves(curves, ["a signl"])
    with pytest.raises(InputError, match="no router to draw"):
        router_curves(curves, [])
