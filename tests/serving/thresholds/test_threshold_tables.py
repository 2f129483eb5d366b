"""Tables of a threshold sweep: counts, shares with their intervals, what was saved, and bands around all of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sweeps_made import by_chance, by_hand, fixed_entries, settings

from evalkit.errors import InputError
from evalkit.metrics import HitRate, ServedWrong, ValidHitRate, WrongShare
from evalkit.serving.arrivals import Arrival
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.bands import BANDED, banded_table, simultaneous_level
from evalkit.serving.thresholds.clusters import intents
from evalkit.serving.thresholds.swept import MISS, Setting, ThresholdSweep
from evalkit.serving.thresholds.tables import SHARES, table

INTENTS = ["fee", "fee", "fee!0", "rate", "rate", ""]
ROWS = [[MISS, 0, 0, MISS, 3, 3], [MISS] * 6]
SMALL = by_hand(
    ROWS, INTENTS, seconds=[1, 2, 4, 8, 16, 32], usd=[0.1, 0.2, 0.4, 0.8, 1.6, 3.2],
    kind=["canonical", "paraphrase", "trap: time", "canonical", "paraphrase", ""],
)  # fmt: skip


def test_counts_and_shares_are_those_of_the_decisions() -> None:
    row = table(SMALL).iloc[0]
    assert (row["requests"], row["unjudged"], row["hits"], row["wrong"], row["stale"]) == (6, 1, 4, 1, 0)
    assert row["hit_rate"] == 4 / 6
    assert row["valid_hit_rate"] == 2 / 5
    assert row["wrong_share"] == 1 / 3
    assert row["served_wrong"] == 1 / 5
    assert row["origin"] == "modelled"


def test_shares_are_the_metrics_of_the_sweeps_lookups() -> None:
    sweep = by_chance(2_000, [0.95, 0.85, 0.7])
    for i, row in table(sweep).iterrows():
        found = sweep.lookups(int(str(i)))
        metrics = {
            "hit_rate": HitRate(),
            "valid_hit_rate": ValidHitRate(),
            "wrong_share": WrongShare(),
            "served_wrong": ServedWrong(),
        }
        for name, metric in metrics.items():
            assert row[name] == pytest.approx(metric.of(found).value)


def test_a_hit_saves_the_requests_own_call_and_a_wrong_one_does_so_too() -> None:
    rows = table(SMALL, lookup_s=0.5)
    first, none = rows.iloc[0], rows.iloc[1]
    assert first["saved_usd"] == pytest.approx(0.2 + 0.4 + 1.6 + 3.2)
    assert first["saved_usd_per_1000"] == pytest.approx(1000 * first["saved_usd"] / 6)
    assert first["right_saved_usd"] == pytest.approx(0.2 + 1.6)
    assert first["saved_s"] == pytest.approx(54)
    assert first["saved_ms"] == pytest.approx(54e3 / 6)
    assert first["right_saved_s"] == pytest.approx(18)
    assert first["mean_ms"] == pytest.approx(1e3 * (0.5 + 9 / 6))
    assert none["mean_ms"] == pytest.approx(1e3 * (0.5 + 63 / 6))
    assert none["saved_usd"] == none["saved_usd_low"] == none["saved_usd_high"] == 0


def test_what_a_call_would_cost_is_unknown_only_where_it_matters() -> None:
    unknown = replace(SMALL, usd=np.array([np.nan, 1, 1, 1, 1, 1.0]), seconds=np.array([1, np.nan, 1, 1, 1, 1.0]))
    first, none = (table(unknown).iloc[i] for i in (0, 1))
    assert first["saved_usd"] == 4  # the first request missed
    assert math.isnan(first["saved_s"])
    assert math.isnan(first["right_saved_ms_high"])
    assert first["mean_ms"] == pytest.approx(1e3 * 2 / 6)
    assert math.isnan(none["mean_ms"])
    assert none["saved_s"] == 0


def test_kinds_have_rows_of_their_own_and_traps_one_together() -> None:
    sweep = by_hand(ROWS, INTENTS, kind=["canonical", "trap: number", "trap: time", "canonical", "trap: time", ""])
    rows = table(sweep, kinds=True)
    assert list(rows["kind"][:5]) == ["all", "canonical", "trap", "trap: number", "trap: time"]
    assert list(rows["requests"][:5]) == [6, 2, 3, 1, 2]
    assert list(rows["wrong"][:5]) == [1, 0, 1, 0, 1]
    assert list(table(SMALL, kinds=True)["kind"].unique()) == ["all", "canonical", "paraphrase", "trap: time"]


def test_a_part_of_the_traffic_is_looked_at_with_the_decisions_of_all() -> None:
    where = np.array([False, True, True, False, False, False])
    row = table(SMALL, where).iloc[0]
    assert (row["requests"], row["hits"], row["wrong"]) == (2, 2, 1)
    assert table(SMALL, ~np.ones(6, dtype=bool)).iloc[0]["requests"] == 0
    with pytest.raises(InputError, match="bool for each of the 6"):
        table(SMALL, np.array([0, 1]))
    with pytest.raises(InputError, match="lookup_s is -1"):
        table(SMALL, lookup_s=-1)


def test_rows_say_which_setting_they_are_of() -> None:
    rules = (*settings([Threshold(0.05, "squared L2")], ttl=60.0), Setting(Verified(0.01), None, "corpus"))
    rows = table(ThresholdSweep(SMALL.arrivals, rules, np.array(ROWS, dtype=np.int32)))
    assert list(rows["threshold"].round(6)[:1]) == [0.975]
    assert math.isnan(rows["threshold"].iloc[1])
    assert list(rows["ttl"]) == [60.0, math.inf]
    assert list(rows["guard"]) == ["none", "corpus"]
    assert list(rows["label"]) == ["squared L2 0.05, guard none, TTL 60 s", "verified 0.01, guard corpus, no TTL"]


def test_intervals_of_wrong_answers_leave_room_for_the_entries() -> None:
    """A setting with 400 wrong hits of one entry knows less than one with 400 of as many."""
    n = 4_000
    wrong = np.arange(n) % 10 == 0
    many = fixed_entries([1.0] * n, (~wrong).tolist(), [0.9], groups=1999)
    one = replace(many, given_by=np.where(wrong, 0, many.given_by))
    rows = [table(sweep).iloc[0] for sweep in (many, one)]
    assert rows[0]["wrong"] == pytest.approx(rows[1]["wrong"], abs=2)
    widths = [row["served_wrong_high"] - row["served_wrong_low"] for row in rows]
    assert widths[1] > 2 * widths[0]
    assert all(row["served_wrong_low"] <= row["served_wrong"] <= row["served_wrong_high"] for row in rows)


def test_bands_hold_the_intervals_and_never_more_than_bonferronis() -> None:
    sweep = by_chance(3_000, [1.0, 0.95, 0.9, 0.85, 0.8, 0.7])
    rows = banded_table(sweep, resamples=1_000)
    for name in BANDED:
        assert (rows[f"{name}_band_low"] <= rows[f"{name}_low"]).all()
        assert (rows[f"{name}_band_high"] >= rows[f"{name}_high"]).all()
    single = rows["band_level"].iloc[0]
    assert 0.95 < single <= 1 - 0.05 / (4 * 6)
    wide = table(sweep, level=single)
    for name in BANDED:
        np.testing.assert_allclose(rows[f"{name}_band_high"], wide[f"{name}_high"])
    assert set(table(sweep).columns) < set(rows.columns)
    assert all(f"{name}_low" in rows for name in SHARES)


def test_thresholds_that_do_the_same_need_no_wider_band() -> None:
    one, many = (by_chance(3_000, [0.9] * times) for times in (1, 30))
    labels = intents(one)
    where = np.ones(3_000, dtype=bool)
    levels = [simultaneous_level(sweep, where, labels, resamples=1_000) for sweep in (one, many)]
    assert levels[0] == levels[1] < 1 - 0.05 / (4 * 30)
    with pytest.raises(InputError, match="one cluster"):
        simultaneous_level(one, where, np.zeros(3_000))


def test_the_bootstrap_finds_the_level_at_which_all_settings_are_held_at_once() -> None:
    """Of the whole population, drawn anew by intents, the share of draws with a setting beyond its ends."""
    sweep = by_chance(4_000, np.linspace(1, 0.7, 12).tolist(), groups=120)
    labels, where = intents(sweep), np.ones(4_000, dtype=bool)
    single = simultaneous_level(sweep, where, labels, seed=0, resamples=4_000)
    draw = np.random.default_rng(99)
    hits = np.stack([np.bincount(labels, weights=row) for row in sweep.hit])
    sizes = np.bincount(labels)
    counts = draw.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=4_000)
    rates = counts @ hits.T / (counts @ sizes)[:, None]
    low, high = np.quantile(rates, [(1 - single) / 2, (1 + single) / 2], axis=0)
    beyond = ((rates < low) | (rates > high)).any(axis=1).mean()
    assert beyond < 0.05  # one share of four
    low, high = np.quantile(rates, [0.025, 0.975], axis=0)
    assert ((rates < low) | (rates > high)).any(axis=1).mean() > 0.06  # intervals one by one do not do


def test_requests_are_one_with_their_traps_and_conversations() -> None:
    arrivals = [
        Arrival("a", tenant="x", intent="fee"), Arrival("b", tenant="x", intent="fee!2"),
        Arrival("c", tenant="y", intent="fee"), Arrival("d", tenant="x", intent="talk/0", conversation="1"),
        Arrival("e", tenant="x", intent="talk/1", conversation="2"), Arrival("fee", tenant="x"),
        Arrival("fee", tenant="x"), Arrival("other", tenant="x"),
    ]  # fmt: skip
    sweep = ThresholdSweep(arrivals, settings([0.9]), np.full((1, 8), MISS, dtype=np.int32))
    assert intents(sweep).tolist() == [0, 0, 1, 2, 2, 3, 3, 4]


def test_a_request_that_got_no_answer_is_in_no_share() -> None:
    failing = replace(SMALL, failed=np.array([True, True, False, False, False, False]))
    first, none = (table(failing).iloc[i] for i in (0, 1))
    assert (first["requests"], first["unjudged"]) == (6, 1)
    assert first["hit_rate"] == 4 / 5  # the second is a hit, which its call does not matter to
    assert first["valid_hit_rate"] == 2 / 4
    assert first["served_wrong"] == 1 / 4
    assert (none["unjudged"], none["hit_rate"]) == (1, 0)
    lost = table(replace(SMALL, failed=np.ones(6, dtype=np.bool_))).iloc[1]
    assert lost["unjudged"] == 0
    assert math.isnan(lost["hit_rate"])


def test_a_kind_called_all_is_refused_and_one_called_trap_is_among_all_traps() -> None:
    kinds = ["trap", "trap: number", "trap: time", "rate", "rate", ""]
    rows = table(by_hand(ROWS, INTENTS, kind=kinds), kinds=True)
    assert rows.groupby("kind")["requests"].first().to_dict() == {
        "all": 6, "trap": 3, "trap: number": 1, "trap: time": 1, "rate": 2,
    }  # fmt: skip
    with pytest.raises(InputError, match="rename it"):
        table(by_hand(ROWS, INTENTS, kind=["all", *kinds[1:]]), kinds=True)
