"""The figure of a factorial design shows its effects, its promises and what was measured."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from outcomes_made import call, outcome

from evalkit.errors import InputError
from evalkit.reporting.canvas import svg
from evalkit.reporting.factorial import factorial_effects
from evalkit.serving import Replay
from evalkit.serving.results.factorial import Factorial, factorial

SHARES = {"semantic cache": 0.5, "prompt cache": 0.7, "a router with a long name": 0.2}


@pytest.fixture(scope="module")
def found() -> Factorial:
    """Three switches whose savings multiply."""
    replays = {}
    for cell in range(8):
        on = [name for i, name in enumerate(SHARES) if cell >> i & 1]
        left = float(np.prod([SHARES[name] for name in on]))
        rows = [
            outcome(i, arrived=9.0 * i, took=left * (1 + 0.1 * (i % 9)), calls=[call(round(400 * left))], intent="i")
            for i in range(90)
        ]
        replays[" + ".join(on) or "nothing"] = Replay(rows, "modelled")
    return factorial(replays, tuple(SHARES), stated={"Mean": {"all": (850, 200)}})


def drawn(figure: Any) -> tuple[list[Any], list[Any]]:
    top, bottom = figure.axes[: len(figure.axes) // 2], figure.axes[len(figure.axes) // 2 :]
    return top, bottom


def drawing(figure: Any) -> str:
    """A figure as SVG, ids numbered as they come: matplotlib makes them from places before these are rounded."""
    names: dict[str, str] = {}
    return re.sub(r"x-[pmh][0-9a-f]{10}", lambda found: names.setdefault(found[0], str(len(names))), svg(figure, "x"))


def test_effects_stand_at_their_values_with_main_effects_above_interactions(found: Factorial) -> None:
    figure = factorial_effects(found, ["Mean", "P95", "DollarsPer1000"])
    top, _ = drawn(figure)
    labels = [text.get_text().replace("\n", " ") for text in top[0].get_yticklabels()]
    assert labels[:3] == list(SHARES)
    assert labels[3] == "semantic cache x prompt cache"
    for axes, metric in zip(top, ("Mean", "P95", "DollarsPer1000"), strict=True):
        values = found.effects[found.effects["metric"] == metric].set_index("term")["value"]
        shown = {y: x for line in axes.lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
                 if line.get_marker() == "o"}  # fmt: skip
        assert [shown[place] for place in range(7)] == pytest.approx([values[label] for label in labels])


def test_bars_are_what_was_promised_and_what_came(found: Factorial) -> None:
    figure = factorial_effects(found, ["Mean"])
    bars = [patch.get_height() for patch in drawn(figure)[1][0].patches]
    rows = found.additive[found.additive["metric"] == "Mean"].set_index("how")
    wanted = [rows["nothing"].iloc[0], *rows["promised"], rows["measured"].iloc[0]]
    assert bars == pytest.approx(wanted)
    assert bars[1] < 0 < bars[2]  # more than there is was promised, and drawn as that
    assert bars[2] == pytest.approx(bars[3])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-1] == "stated for everything"


def test_the_figure_is_whole_titled_and_the_same_each_time(found: Factorial) -> None:
    figure = factorial_effects(found, ["Mean", "P95", "DollarsPer1000", "ServedWrong"])
    assert "3 switches in all 8 combinations over the same 90 requests" in figure.get_suptitle()
    assert "modelled" in figure.get_suptitle()
    one, other = (drawing(factorial_effects(found, ["Mean", "P95", "ServedWrong"])) for _ in range(2))
    assert one == other
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0


def test_a_share_of_nothing_compounds_to_nothing_and_is_said_so(found: Factorial) -> None:
    axes = drawn(factorial_effects(found, ["ServedWrong"]))[1][0]
    assert [text.get_text() for text in axes.texts] == ["0", "0", "none", "0"]


def test_unknown_metrics_and_none_are_refused(found: Factorial) -> None:
    with pytest.raises(InputError, match="no metric 'P59'; did you mean 'P95'"):
        factorial_effects(found, ["P59"])
    with pytest.raises(InputError, match="name at least one"):
        factorial_effects(found, [])
