"""What routing and caching save together, with intervals, and drawn."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.errors import InputError
from evalkit.llm.pricing import Price, Prices
from evalkit.llm.prompt_cache.placement import Placement, TracedPrompt
from evalkit.llm.prompt_cache.request import Segment
from evalkit.llm.prompt_cache.switching import price_switching
from evalkit.reporting.switching import saving_bridge, saving_intervals

MARKED = Placement((("system", "5m"),))
DEAR, CHEAP = "claude-sonnet-5-5", "claude-haiku-5-5"


def day(seed=0, n=600, shared=2_000):
    """Requests at random times of a day, every third of them to the cheap model."""
    rng = np.random.default_rng(seed)
    system = ("system", (Segment("S", shared, "system"),))
    trace = []
    for i, at in enumerate(np.sort(rng.uniform(0, 86_400, n))):
        trace.append(TracedPrompt(at, at, "", (system, ("question", (Segment(f"Q{i}", 50),)))))
    choice = [CHEAP if u < 1 / 3 else DEAR for u in rng.uniform(size=n)]
    return price_switching(trace, choice, MARKED, Prices.load())


def test_intervals_stand_around_the_very_figures_and_their_parts_add_up():
    found = day()
    spans = saving_intervals(found)
    assert {name: spans[name].value for name in found.savings} == pytest.approx(found.savings)
    assert spans["switching costs"].value == pytest.approx(found.loss.share)
    assert all(span.low < span.value < span.high for span in spans.values())
    parts = ("added up", "counted twice", "lost by switching")
    assert sum(spans[name].value for name in parts) == pytest.approx(spans["together"].value)
    assert "24 clusters" in spans["together"].method


def test_the_interval_of_the_cost_of_switching_covers_the_mean_of_many_days():
    days = [saving_intervals(day(seed, n=300), resamples=1_000)["switching costs"] for seed in range(40)]
    mean = np.mean([one.value for one in days])
    assert sum(one.low <= mean <= one.high for one in days) >= 34


def test_one_model_has_no_cost_of_switching_and_an_interval_of_no_width():
    found = day(n=50)
    alone = price_switching(
        [TracedPrompt(float(at), float(at), "", (("system", (Segment("S", 2_000, "system"),)),)) for at in found.at],
        [DEAR] * 50, MARKED, Prices.load(),
    )  # fmt: skip
    span = saving_intervals(alone)["switching costs"]
    assert (span.value, span.low, span.high) == (0.0, 0.0, 0.0)


def test_intervals_are_the_same_for_the_same_seed_and_others_for_another():
    found = day()
    assert saving_intervals(found, seed=1) == saving_intervals(found, seed=1)
    assert saving_intervals(found, seed=1)["together"] != saving_intervals(found, seed=2)["together"]


def test_prompts_that_cost_nothing_have_no_share_to_state():
    free = Prices((Price("free", "2026-01-01", 0, 0),))
    nothing = price_switching([TracedPrompt(0.0, 0.0, "", (("system", ()),))], ["free"], MARKED, free)
    with pytest.raises(InputError, match="saving_intervals: the prompts cost nothing"):
        saving_intervals(nothing)


def test_the_bridge_ends_where_the_bars_lead_and_has_a_panel_for_each():
    found = day()
    figure = saving_bridge({"a": found, "b": found})
    assert len(figure.axes) == 2
    bars = [bar for bar in figure.axes[0].patches if bar.get_width() > 0.5]
    assert len(bars) == 6
    ends = [bar.get_y() + bar.get_height() for bar in bars]
    assert bars[2].get_y() == bars[5].get_y() == 0  # sums stand on zero
    assert ends[1] == pytest.approx(ends[2])  # two savings, stacked, are their sum
    assert ends[4] == pytest.approx(ends[5])  # what is taken off leads to what they save together
    assert ends[5] == pytest.approx(100 * found.savings["together"])
    assert saving_bridge(found)._repr_png_() == saving_bridge(found)._repr_png_()
    with pytest.raises(InputError, match="nothing to draw"):
        saving_bridge({})
