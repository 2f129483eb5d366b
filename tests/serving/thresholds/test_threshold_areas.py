"""The area under a sweep's curve, and curves compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps_made import by_chance, by_hand, fixed_entries
from sweeps_made import settings as rules

from evalkit.errors import InputError
from evalkit.metrics import precision_hit_rate_curve
from evalkit.serving.semantic.decisions import Verified
from evalkit.serving.thresholds.area import compare_areas, settings_of, threshold_curve
from evalkit.serving.thresholds.bands import banded_table
from evalkit.serving.thresholds.swept import MISS, ThresholdSweep

FEW = {"resamples": 200}


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60),
    st.lists(st.integers(0, 12), max_size=5),
)
def test_over_fixed_entries_it_is_the_precision_hit_rate_curve(
    drawn: list[tuple[int, bool]], extra: list[int]
) -> None:
    """Also when thresholds come in any order, and some of them change nothing."""
    scores, right = [s / 12 for s, _ in drawn], [r for _, r in drawn]
    known = precision_hit_rate_curve(scores, right)
    thresholds = [*known.thresholds.tolist()[::-1], *(e / 12 for e in extra)]
    found = threshold_curve(fixed_entries(scores, right, list(dict.fromkeys(thresholds))), **FEW)
    assert found.area.value == pytest.approx(known.area)
    at = [found.thresholds.tolist().index(one) for one in known.thresholds.tolist()]
    np.testing.assert_allclose(found.hit_rate[at], known.hit_rate)
    np.testing.assert_allclose(found.precision[at], known.precision)
    assert (np.diff(found.thresholds) < 0).all()


def test_a_lower_threshold_that_hits_less_adds_nothing() -> None:
    """Three settings of four requests: 2 of 4 hit, then 1, then 3, one of them wrongly."""
    rows = [[MISS, 0, 0, MISS], [MISS, 0, MISS, MISS], [MISS, 0, 0, 0]]
    sweep = by_hand(rows, ["a", "a", "a", "b"])
    found = threshold_curve(sweep, budget=0.5, **FEW)
    assert found.hit_rate.tolist() == [0.5, 0.25, 0.75]
    assert found.area.value == pytest.approx(0.5 * 1 + 0.25 * (2 / 3))
    assert threshold_curve(sweep, up_to=0.6, **FEW).area.value == pytest.approx(0.5 + 0.1 * (2 / 3))
    # without a wrong answer half are hit, as long as the budget is below a quarter; three quarters then
    assert found.hits_within.value == pytest.approx((0.5 * 0.25 + 0.75 * 0.25) / 0.5)
    assert threshold_curve(sweep, budget=0.2, **FEW).hits_within.value == pytest.approx(0.5)


def test_no_credit_for_a_threshold_that_is_less_wrong_than_a_stricter_one() -> None:
    """What is beyond the budget at 0.99 stays so at 0.98, though fewer are wrong there."""
    rows = [[MISS, 0, 0, MISS, MISS], [MISS, 0, MISS, MISS, MISS]]
    sweep = by_hand(rows, ["a", "a", "b", "c", "d"])
    assert threshold_curve(sweep, budget=0.1, **FEW).hits_within.value == 0


def test_what_cannot_be_judged_is_left_out() -> None:
    rows = [[MISS, 0, 0, 0]]
    found = threshold_curve(by_hand(rows, ["a", "a", "a", ""]), **FEW)
    assert found.hit_rate[0] == 2 / 3
    with pytest.raises(InputError, match="no request can be judged"):
        threshold_curve(by_hand(rows, ["", "", "", ""]), **FEW)


def test_the_interval_is_that_of_drawn_clusters() -> None:
    sweep = by_chance(2_000, np.linspace(1, 0.6, 9).tolist(), groups=60)
    found = threshold_curve(sweep, resamples=2_000)
    assert found.area.low < found.area.value < found.area.high
    assert found.hits_within.low <= found.hits_within.value <= found.hits_within.high
    assert "60 clusters" in found.area.method
    again = threshold_curve(sweep, resamples=2_000)
    assert again.area == found.area
    draw, labels = np.random.default_rng(5), found.clusters
    areas = []
    for _ in range(300):
        picked = draw.integers(0, 60, 60)
        rows = np.concatenate([np.flatnonzero(labels == one) for one in picked])
        part = replace(
            sweep, arrivals=[sweep.arrivals[i] for i in rows], given_by=sweep.given_by[:, rows],
            seconds=np.empty(0), usd=np.empty(0), failed=np.empty(0, dtype=np.bool_),
        )  # fmt: skip
        areas.append(threshold_curve(part, resamples=2).area.value)
    spread = np.std(areas)
    assert (found.area.high - found.area.low) / 2 == pytest.approx(2 * spread, rel=0.2)


def test_one_cluster_says_nothing_of_how_well_an_area_is_known() -> None:
    found = threshold_curve(by_hand([[MISS, 0]], ["a", "a"]), **FEW)
    assert (found.area.low, found.area.high) == (-np.inf, np.inf)


def test_a_sweep_of_several_guards_asks_which_curve_is_meant() -> None:
    base = by_chance(50, [0.9, 0.8])
    both = (*rules([0.9, 0.8]), *rules([0.8, 0.9], ttl=60.0, guard="corpus"), *rules([Verified()]))
    sweep = ThresholdSweep(base.arrivals, both, base.given_by[[0, 1, 1, 0, 0]], base.precomputed)
    assert settings_of(sweep, guard="corpus") == (3, 2)
    assert settings_of(sweep, ttl=None) == (0, 1)
    with pytest.raises(InputError, match=r"name 2 curves: guard corpus, ttl 60\.0; guard none, ttl None"):
        threshold_curve(sweep, **FEW)
    with pytest.raises(InputError, match="name 0 curves"):
        threshold_curve(sweep, guard="context", **FEW)
    with pytest.raises(InputError, match="budget 0 are shares"):
        threshold_curve(sweep, guard="corpus", budget=0, **FEW)


def test_a_curve_does_not_differ_from_itself_and_a_better_one_is_called_so() -> None:
    thresholds = np.linspace(1, 0.5, 11).tolist()
    draw = np.random.default_rng(3)
    scores = draw.random(4_000).round(3) * 0.5 + 0.5
    poor, good = ((draw.random(4_000) < 1 - (1 - scores) * slope).tolist() for slope in (1.5, 0.3))
    base, better = (
        threshold_curve(fixed_entries(scores.tolist(), right, thresholds, groups=80), **FEW) for right in (poor, good)
    )
    rows = compare_areas(base, {"itself": base, "better": better}, resamples=1_000).set_index(["other", "measure"])
    same = rows.loc[("itself", "precision")]
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    assert same["verdict"] == "inconclusive"
    found = rows.loc[("better", "precision")]
    assert found["verdict"] == "better"
    assert found["difference"] == pytest.approx((better.area.value - base.area.value) / found["bound"])
    assert rows.loc[("better", "hits_within"), "verdict"] == "better"
    assert found["p_corrected"] == pytest.approx(2 * found["p"])
    back = compare_areas(better, {"base": base}, resamples=1_000).set_index("measure").loc["precision"]
    assert back["verdict"] == "worse"
    assert back["low"] == pytest.approx(-found["high"], abs=0.005)


def test_pairing_knows_a_difference_better_than_two_intervals() -> None:
    thresholds = np.linspace(1, 0.5, 6).tolist()
    first = by_chance(3_000, thresholds, groups=50)
    second = replace(first, given_by=np.where(np.arange(3_000) % 97 == 0, MISS, first.given_by))
    one, other = (threshold_curve(sweep, **FEW) for sweep in (first, second))
    row = compare_areas(one, {"other": other}, resamples=1_000).iloc[0]
    assert row["measure"] == "precision"
    assert row["high"] - row["low"] < (one.area.high - one.area.low) / 2


def test_areas_are_compared_up_to_the_hit_rate_that_all_reach_in_every_draw() -> None:
    """A curve that was swept less far is the same curve as far as it goes."""
    deep = by_chance(1_000, [1.0, 0.9, 0.8, 0.5, 0.3])
    shallow = replace(deep, settings=deep.settings[:3], given_by=deep.given_by[:3])
    curves = [threshold_curve(sweep, **FEW) for sweep in (deep, shallow)]
    row = compare_areas(curves[0], {"shallow": curves[1]}, resamples=100).iloc[0]
    assert row["bound"] == curves[1].hit_rate.max() < curves[0].hit_rate.max()
    assert row["other_value"] == pytest.approx(curves[1].area.value / row["bound"])
    np.testing.assert_allclose(row[["difference", "low", "high"]].astype(float), 0, atol=1e-12)


def test_curves_of_other_traffic_are_not_compared() -> None:
    one, other = (threshold_curve(by_chance(n, [0.9]), **FEW) for n in (60, 61))
    with pytest.raises(InputError, match="'other' is of other traffic"):
        compare_areas(one, {"other": other})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clusters": np.arange(3)}, "clusters has shape"), ({"resamples": 0}, "resamples is 0"),
        ({"level": 1.5}, "level is 1.5"), ({"seed": -1}, "seed is -1"), ({"seed": 0.5}, "seed is 0.5"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_drawn_with_is_refused_in_one_line(options: dict[str, Any], said: str) -> None:
    sweep = by_chance(60, [0.9])
    for function in (threshold_curve, banded_table):
        with pytest.raises(InputError, match=said) as refused:
            function(sweep, **options)
        assert "\n" not in str(refused.value)
    if "clusters" not in options:
        with pytest.raises(InputError, match=said):
            compare_areas(threshold_curve(sweep, **FEW), {}, **options)
