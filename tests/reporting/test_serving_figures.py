"""Figures of replays show what the replays saw."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from outcomes_made import MODEL, Pauses, RefusesEvery, outcome
from toys import dense

from evalkit.errors import InputError
from evalkit.llm import Extractive, Modelled
from evalkit.reporting.canvas import png, svg
from evalkit.reporting.serving import load_curves, rate, traffic_timeline
from evalkit.reporting.ways import request_waterfall
from evalkit.serving import Arrival, Cache, Replay, replay
from evalkit.testing import tiny_dataset
from evalkit.variants import Service

COST = {"embed": 0.05, "search": 0.1, "assemble": 0.01}


@pytest.fixture(scope="session")
def served(shared_store: Any) -> Callable[[float], Replay]:
    """A replay at some rate of arrivals."""
    data = tiny_dataset()
    variant = dense(generate=Modelled(Extractive(dense().retrieve.embedder), "roadmap", model=MODEL))
    layers = (RefusesEvery(9), Cache(ttl=20), Pauses(0.03, at="retrieve"))

    def at(rate_of: float) -> Replay:
        times = np.cumsum(np.random.default_rng(6).exponential(1 / rate_of, 90))
        asked = [Arrival(data.queries.text[i * 5 % 8], float(t), patience=4.0) for i, t in enumerate(times)]
        return replay(Service(variant, layers), data, asked, cost=COST, store=shared_store)

    return at


@pytest.fixture(scope="session")
def seen(served: Callable[[float], Replay]) -> Replay:
    return served(4.0)


@pytest.fixture(scope="session")
def loads(served: Callable[[float], Replay]) -> list[Replay]:
    return [served(r) for r in (8.0, 1.0, 40.0)]


ALL: dict[str, Callable[[Replay, list[Replay]], Any]] = {
    "waterfall": lambda seen, loads: request_waterfall(seen),
    "one request": lambda seen, loads: request_waterfall(seen, 3),
    "load": lambda seen, loads: load_curves(loads, limit_ms=700),
    "loads": lambda seen, loads: load_curves({"a service " * 9: loads, "another": loads[:2]}),
    "timeline": lambda seen, loads: traffic_timeline(seen),
    "coarse timeline": lambda seen, loads: traffic_timeline(seen, 1000),
}


def drawing(figure: Any) -> str:
    """A figure as SVG, ids numbered as they come: matplotlib makes them from places before these are rounded."""
    names: dict[str, str] = {}
    return re.sub(r"x-[pmh][0-9a-f]{10}", lambda found: names.setdefault(found[0], str(len(names))), svg(figure, "x"))


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_titled_labelled_whole_and_the_same_each_time(
    seen: Replay, loads: list[Replay], name: str
) -> None:
    figure = ALL[name](seen, loads)
    assert figure.get_suptitle()
    assert all(axes.get_title(loc="left") for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > 0
    texts = [text for axes in figure.axes for text in [*axes.texts, *axes.get_yticklabels(which="both")]]
    assert not [text.get_text() for text in texts if "$" in text.get_text()]
    for box in [text.get_window_extent() for axes in figure.axes for text in axes.texts if text.get_text()]:
        assert min(box.x0, width * figure.dpi - box.x1) > 0
    assert drawing(ALL[name](seen, loads)) == drawing(ALL[name](seen, loads))
    assert png(figure)[:4] == b"\x89PNG"


def bars(axes: Any) -> dict[int, tuple[float, float]]:
    """By row, the begin and end of what is filled."""
    filled = [patch for patch in axes.patches if patch.get_facecolor()[3] > 0]
    return {round(p.get_y() + p.get_height() / 2): (p.get_x(), p.get_x() + p.get_width()) for p in filled}


def test_a_requests_bars_are_its_events(seen: Replay) -> None:
    number = int(seen.per_request.loc[seen.per_request["calls"] == 1, "number"].iloc[1])
    (axes,) = request_waterfall(seen, number).axes
    outcome_ = seen.outcomes[number]
    drawn = {(axes.get_yticklabels()[row].get_text(), round(a, 6), round(b, 6)) for row, (a, b) in bars(axes).items()}
    assert drawn == {
        (e.name, round((e.began - outcome_.arrived) * 1e3, 6), round((e.end - outcome_.arrived) * 1e3, 6))
        for e in outcome_.events
    }
    first = next(line for line in axes.lines if line.get_linestyle() == ":")
    assert first.get_xdata()[0] == pytest.approx(seen.per_request["first_ms"][number])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:2] == ["RefusesEvery[answer]", "Cache[answer]"]


def test_without_a_number_the_median_of_each_kind_of_outcome_is_shown(seen: Replay) -> None:
    rows = seen.per_request
    panels = {axes.get_title(loc="left").partition(":")[0]: axes for axes in request_waterfall(seen).axes}
    assert set(panels) == {"answered by a cache", "answered", "refused"}
    made = rows[(rows["outcome"] == "answered") & (rows["hit"] == "")].sort_values("ms", kind="stable")
    middle = made.iloc[(len(made) - 1) // 2]
    title = panels["answered"].get_title(loc="left")
    assert title.startswith(
        f"answered: request {middle['number']}, the median of {len(made)}, {middle['ms']:,.1f} ms"
    )
    assert "(RefusesEvery: its turn)" in panels["refused"].get_title(loc="left")


def test_waits_for_a_core_are_hollow(seen: Replay) -> None:
    number = int(seen.per_request["queue_ms"].idxmax())
    (axes,) = request_waterfall(seen, number).axes
    hollow = [patch for patch in axes.patches if patch.get_facecolor()[3] == 0]
    assert sum(p.get_width() for p in hollow) == pytest.approx(seen.per_request["queue_ms"][number])


def test_a_request_that_is_none_is_refused(seen: Replay) -> None:
    with pytest.raises(InputError, match="no request 1000"):
        request_waterfall(seen, 1000)
    with pytest.raises(InputError, match="nothing to draw"):
        request_waterfall(Replay([outcome(0)], "measured"))


def test_points_of_a_load_curve_are_the_summaries_at_the_rates_that_came(loads: list[Replay]) -> None:
    figure = load_curves(loads, limit_ms=700)
    ordered = sorted(loads, key=rate)
    for axes, metric in zip(figure.axes, ("P50", "P95", "FirstToken(q=0.95)", "answered"), strict=True):
        line = axes.lines[0]
        np.testing.assert_allclose(line.get_xdata(), [rate(one) for one in ordered])
        values = [one.summary.set_index("metric").loc[metric, "value"] for one in ordered]
        np.testing.assert_allclose(line.get_ydata(), values)
    arrived = ordered[0].per_request["arrived"]
    assert rate(ordered[0]) == pytest.approx(89 / (arrived.max() - arrived.min()))
    assert figure.axes[1].lines[-1].get_ydata()[0] == 700
    assert "limit 700.0 ms" in [text.get_text() for text in figure.axes[1].texts]


def test_intervals_that_are_open_end_in_an_arrow(loads: list[Replay]) -> None:
    ends = [one.summary.set_index("metric").loc["P95", "high"] for one in loads]
    axes = load_curves(loads).axes[1]
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert len(arrows) == sum(math.isinf(float(end)) for end in ends)
    short = [Replay(one.outcomes[:30], "measured") for one in loads]
    assert len([text for text in load_curves(short).axes[1].texts if text.arrow_patch is not None]) == 3


def test_a_rate_needs_time(seen: Replay) -> None:
    with pytest.raises(InputError, match="no replay to draw"):
        load_curves([])
    with pytest.raises(InputError, match="all at once"):
        load_curves([Replay(seen.outcomes[:1], "measured")])


def test_a_timeline_draws_the_rows_of_per_second(seen: Replay) -> None:
    rows = seen.per_second(2.0)
    came, under_way, became, latency = traffic_timeline(seen, 2.0).axes
    for line, column in zip(came.lines, ("arrivals", "ended"), strict=True):
        np.testing.assert_array_equal(line.get_ydata()[:-1], rows[column])
        np.testing.assert_allclose(line.get_xdata()[:-1], rows["second"])
    for line, column in zip(latency.lines, ("p50_ms", "p95_ms"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), rows[column])
        np.testing.assert_allclose(line.get_xdata(), rows["second"] + 1)
    (area,) = under_way.collections
    assert area.get_paths()[0].vertices[:, 1].max() == pytest.approx(rows["in_flight"].max())
    top = max(area.get_paths()[0].vertices[:, 1].max() for area in became.collections)
    assert top == rows["ended"].max()
    labels = became.get_legend_handles_labels()[1]
    assert labels == ["answered by a cache", "answered", "refused"]


def test_a_long_day_is_drawn_in_hours() -> None:
    found = Replay([outcome(i, arrived=3600.0 * i) for i in range(24)], "measured")
    axes = traffic_timeline(found, 3600.0).axes[-1]
    assert axes.get_xlabel() == "hours since the traffic began"
    assert axes.get_xlim() == (0.0, 24.0)
