"""Figures of threshold sweeps show what their tables say."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from sweeps_made import by_chance
from sweeps_made import settings as rules

from evalkit.errors import InputError
from evalkit.reporting.ageing import ageing_figure
from evalkit.reporting.canvas import png, svg
from evalkit.reporting.thresholds import threshold_curves
from evalkit.serving.semantic.decisions import Verified
from evalkit.serving.thresholds.bands import banded_table
from evalkit.serving.thresholds.swept import ThresholdSweep
from evalkit.serving.thresholds.tables import table

AT = np.linspace(1, 0.7, 13).round(3).tolist()
AGEING = pd.DataFrame(
    {
        "window": ["monday", "tuesday", "wednesday"], "value": [0.004, np.nan, 0.02], "low": [0.002, 0.0, 0.013],
        "high": [0.007, 1.0, 0.03], "verdict": ["holds", "cannot tell", "broken"],
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def one() -> pd.DataFrame:
    return banded_table(by_chance(1_500, AT), resamples=500)


@pytest.fixture(scope="module")
def guards() -> pd.DataFrame:
    """Two guards, and a verified cache with one of them."""
    base = by_chance(1_500, AT)
    other = by_chance(1_500, AT, seed=4)
    settings = (*rules(AT), *rules(AT, guard="corpus"), *rules([Verified(0.01)], guard="corpus"))
    given = np.concatenate([base.given_by, other.given_by, base.given_by[3:4]])
    return table(replace(base, settings=settings, given_by=given))


@pytest.fixture
def figures(one: pd.DataFrame, guards: pd.DataFrame) -> dict[str, Any]:
    return {
        "one": lambda: threshold_curves(one, budget=0.01, certified="0.95"),
        "guards": lambda: threshold_curves(guards, budget=0.01),
        "embedders": lambda: threshold_curves({"an embedder " * 4: one, "another": guards}),
        "ageing": lambda: ageing_figure(AGEING, budget=0.01),
    }


def drawing(figure: Any) -> str:
    names: dict[str, str] = {}
    return re.sub(r"x-[pmh][0-9a-f]{10}", lambda found: names.setdefault(found[0], str(len(names))), svg(figure, "x"))


@pytest.mark.parametrize("name", ["one", "guards", "embedders", "ageing"])
def test_every_figure_is_titled_labelled_whole_and_the_same_each_time(figures: dict[str, Any], name: str) -> None:
    figure = figures[name]()
    assert figure.get_suptitle()
    assert all(axes.get_title(loc="left") and axes.get_xlabel() for axes in figure.axes)
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > 0
    for box in [text.get_window_extent() for axes in figure.axes for text in axes.texts if text.get_text()]:
        assert min(box.x0, width * figure.dpi - box.x1) > 0
    assert drawing(figures[name]()) == drawing(figure)
    assert png(figure)[:4] == b"\x89PNG"


def test_a_line_goes_through_every_threshold_from_the_strictest_on(one: pd.DataFrame) -> None:
    main, hits, served, among = threshold_curves(one, budget=0.01).axes
    line = next(line for line in main.lines if line.get_label() == "thresholds")
    np.testing.assert_allclose(line.get_xdata(), one["served_wrong"])
    np.testing.assert_allclose(line.get_ydata(), one["hit_rate"])
    for axes, share in ((hits, "hit_rate"), (served, "served_wrong"), (among, "wrong_share")):
        np.testing.assert_allclose(axes.lines[0].get_xdata(), AT)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), one[share])
    budget = next(line for line in main.lines if line.get_label() == "budget 1 %")
    assert set(budget.get_xdata()) == {0.01}


def test_bands_are_drawn_around_the_intervals(one: pd.DataFrame) -> None:
    wide, narrow = (area.get_paths()[0].vertices for area in threshold_curves(one).axes[1].collections)
    assert wide[:, 1].max() == pytest.approx(one["hit_rate_band_high"].max())
    assert narrow[:, 1].max() == pytest.approx(one["hit_rate_high"].max())
    plain = one.drop(columns=[name for name in one if "_band_" in name])
    assert len(threshold_curves(plain).axes[1].collections) == 1


def test_thresholds_are_written_at_their_places_without_overlap(guards: pd.DataFrame) -> None:
    figure = threshold_curves(guards)
    main = figure.axes[0]
    figure.draw_without_rendering()
    assert len(main.texts) >= 6
    for text in main.texts:
        rows = guards[guards["rule"] == text.get_text()]
        places = rows[["served_wrong", "hit_rate"]].to_numpy()
        assert np.isclose(places, text.xy).all(axis=1).any()
    boxes = [Text.get_window_extent(text) for text in main.texts]  # without the line to the point
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert "verified 0.01" in [text.get_text() for text in main.texts]
    lines = {line.get_label(): line.get_color() for line in main.lines}
    assert set(lines) >= {"guard none", "guard corpus", "verified"}
    verified = next(text for text in main.texts if text.get_text() == "verified 0.01")
    assert verified.get_color() == lines["guard corpus"]


def test_the_certified_setting_is_marked(one: pd.DataFrame) -> None:
    axes = threshold_curves(one, certified="0.95").axes[0]
    star = next(line for line in axes.lines if line.get_label() == "certified")
    row = one[one["label"] == "0.95"].iloc[0]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (row["served_wrong"], row["hit_rate"])
    with pytest.raises(InputError, match=r"no setting '0.951'.*0.95"):
        threshold_curves(one, certified="0.951")


def test_a_kind_of_requests_is_drawn_alone(one: pd.DataFrame) -> None:
    both = pd.concat([one, one.assign(kind="trap", hit_rate=one["hit_rate"] / 2)])
    axes = threshold_curves(both, kind="trap").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), one["hit_rate"] / 2)
    with pytest.raises(InputError, match=r"no rows of kind 'traps'.*trap"):
        threshold_curves(both, kind="traps")
    with pytest.raises(InputError, match="no setting to draw"):
        threshold_curves({})


def test_only_verified_caches_make_a_figure_too() -> None:
    base = by_chance(300, [0.9, 0.8])
    sweep = ThresholdSweep(base.arrivals, rules([Verified(0.01), Verified(0.02)]), base.given_by, base.precomputed)
    axes = threshold_curves(table(sweep)).axes[0]
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["verified 0.01", "verified 0.02"]


def test_windows_are_drawn_in_their_order_by_verdict_and_an_empty_one_keeps_its_place() -> None:
    (axes,) = ageing_figure(AGEING, budget=0.01).axes
    points = {bars.get_label(): bars.lines[0].get_xydata().tolist() for bars in axes.containers}
    assert points == {"holds": [[0.0, 0.004]], "cannot tell": [], "broken": [[2.0, 0.02]]}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["monday", "tuesday", "wednesday"]
    assert axes.lines[-1].get_ydata()[0] == 0.01
    with pytest.raises(InputError, match="columns missing: verdict"):
        ageing_figure(AGEING.drop(columns="verdict"), budget=0.01)
    with pytest.raises(InputError, match="no window"):
        ageing_figure(AGEING[:0], budget=0.01)
