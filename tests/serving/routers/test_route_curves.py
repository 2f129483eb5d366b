"""Routers are tuned on one half of the prompts and reported on the other, and called what they are."""

from __future__ import annotations

import numpy as np
import pytest
from outcomes_of import made

from evalkit.errors import InputError, InputErrors
from evalkit.metrics.statistics import holm
from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.serving.routers.route_curves import route_curves
from evalkit.serving.routers.scores import AnswerWrong, GivenScores, WordTiers
from evalkit.serving.routers.verdicts import BEATS, DOES_NOT, WORSE, AgainstRandom, estimate, p_value

FEW = {"resamples": 1_000, "points": 21}


def test_a_score_with_a_signal_beats_chance_and_noise_does_not():
    outcomes, score = made(600, seed=1)
    noise = np.random.default_rng(9).normal(size=600)
    found = route_curves(outcomes, {"signal": score, "noise": noise, "upside down": -score}, **FEW)
    assert found.table["verdict"].tolist() == [BEATS, DOES_NOT, WORSE]
    assert found.table["curve_verdict"].tolist() == [BEATS, DOES_NOT, WORSE]
    assert "does not beat random at the same cost" in str(found)
    assert found.swapped["curve_verdict"].tolist() == [BEATS, DOES_NOT, WORSE]


def test_thresholds_are_chosen_on_one_half_and_everything_reported_on_the_other():
    outcomes, score = made(300, seed=2)
    found = route_curves(outcomes, {"r": score}, target=0.7, seed=4, **FEW)
    first = outcomes.parts(2, 4, "half") == 0
    for row, known in ((found.table.iloc[0], first), (found.swapped.iloc[0], ~first)):
        best = min(  # by brute force: the cheapest threshold that recovers 0.7 of the gap of the known half
            (outcomes.usd[known, (score[known] >= t).astype(int)].mean(), t)
            for t in score[known]
            if pgr(outcomes, known, score >= t) >= 0.7
        )
        assert row["threshold"] == best[1]
        asked = (score >= best[1]).astype(int)
        rows = np.flatnonzero(~known)
        assert row["quality"] == pytest.approx(outcomes.quality[rows, asked[rows]].mean())
        assert row["usd_per_1000"] == pytest.approx(1000 * outcomes.usd[rows, asked[rows]].mean())
        assert row["calls"] == pytest.approx(asked[rows].mean())
        assert row["pgr"] == pytest.approx(pgr(outcomes, ~known, score >= best[1]))
        assert row["n"] == len(rows)
        assert row["vs_random"] == pytest.approx(row["quality"] - row["random"])


def pgr(outcomes, rows, asked):
    weak, strong = outcomes.quality[rows].mean(axis=0)
    rows = np.flatnonzero(rows)
    return (outcomes.quality[rows, asked[rows].astype(int)].mean() - weak) / (strong - weak)


def test_a_budget_is_kept_on_the_half_it_was_chosen_on():
    outcomes, score = made(300, seed=3)
    found = route_curves(outcomes, {"r": score}, budget=2.0, **FEW)
    known = outcomes.parts(2, 0, "half") == 0
    asked = (score >= found.table["threshold"][0]).astype(int)
    rows = np.flatnonzero(known)
    assert 1000 * outcomes.usd[rows, asked[rows]].mean() <= 2.0
    with pytest.raises(InputError, match="weak model alone costs"):
        route_curves(outcomes, {"r": score}, budget=0.01, **FEW)


def test_the_oracle_asks_the_cheapest_model_that_answers_best():
    outcomes, score = made(200, seed=5)
    rows = route_curves(outcomes, {"r": score}, **FEW).alone.iloc[:3]
    told = np.flatnonzero(outcomes.parts(2, 0, "half") == 1)
    right = outcomes.right[told]
    assert rows["name"].tolist() == ["weak", "strong", "oracle"]
    assert rows["quality"].tolist() == pytest.approx([*right.mean(axis=0), right.any(axis=1).mean()])
    asked = (~right[:, 0] & right[:, 1]).astype(int)
    assert rows["usd_per_1000"].iloc[2] == pytest.approx(1000 * outcomes.usd[told, asked].mean())


def test_the_order_of_prompts_changes_nothing():
    outcomes, score = made(120, seed=6)
    order = np.random.default_rng(0).permutation(120)
    turned = RecordedOutcomes(
        "made", outcomes.models, tuple(outcomes.prompts[i] for i in order), tuple(outcomes.answers[i] for i in order),
        outcomes.quality[order], outcomes.usd[order],
    )  # fmt: skip
    one, other = route_curves(outcomes, {"r": score}, **FEW), route_curves(turned, {"r": score[order]}, **FEW)
    for column in ("threshold", "quality", "usd_per_1000", "apgr", "vs_random", "curve_vs_random"):
        assert one.table[column][0] == pytest.approx(other.table[column][0])
    again = route_curves(outcomes, {"r": score}, **FEW)
    assert again.table.equals(one.table)
    assert again.curve.equals(one.curve)


def test_equal_prompts_are_in_one_half():
    outcomes, _ = made(60, seed=7)
    doubled = RecordedOutcomes(
        "made", outcomes.models, outcomes.prompts * 2, outcomes.answers * 2,
        np.tile(outcomes.quality, (2, 1)), np.tile(outcomes.usd, (2, 1)),
    )  # fmt: skip
    half = doubled.parts(2, 0, "half")
    assert (half[:60] == half[60:]).all()
    assert half.sum() == 60


def test_of_routers_that_know_nothing_few_beat_chance():
    # both tests at 0.05, one router at a time, so without a correction; 240 routers, of which 3 to 23 is no wonder
    outcomes, _ = made(400, seed=8)
    rng = np.random.default_rng(3)
    at, whole = [], []
    for _ in range(6):
        found = route_curves(outcomes, {str(i): rng.normal(size=400) for i in range(20)}, resamples=400, points=2)
        for report in found.reports:
            for one in report.routers.values():
                draws = {"at": one.at_threshold.gain, "whole": one.whole.gain}
                at.append(not draws["at"].low <= 0 <= draws["at"].high)
                whole.append(not draws["whole"].low <= 0 <= draws["whole"].high)
    assert 2 <= sum(at) <= 26
    assert 2 <= sum(whole) <= 26


def test_p_values_are_corrected_over_the_routers():
    outcomes, score = made(200, seed=9, strength=0.4)
    noise = np.random.default_rng(1).normal(size=200)
    alone = [route_curves(outcomes, {"r": s}, **FEW).table["p"][0] for s in (score, noise)]
    together = route_curves(outcomes, {"a": score, "b": noise}, **FEW).table["p"]
    assert together.tolist() == pytest.approx(holm(alone).tolist())


@pytest.mark.parametrize(
    ("draws", "p"),
    [(np.zeros(99), 1.0), (np.ones(99), 0.02), (np.arange(-4.0, 95.0), 0.12), (np.array([np.nan, 1.0]), 1.0)],
)
def test_a_p_value_is_where_the_interval_would_just_leave_zero_out(draws, p):
    assert p_value(draws) == pytest.approx(p)


def test_a_verdict_claims_only_what_is_shown():
    def said(value, p):
        return AgainstRandom(estimate(value, np.array([value]), 50, 0.95), p).verdict

    assert [said(0.1, 0.01), said(0.1, 0.06), said(-0.1, 0.01), said(0.0, 0.001)] == [
        BEATS,
        DOES_NOT,
        WORSE,
        DOES_NOT,
    ]


def test_without_a_gap_there_is_nothing_to_recover():
    outcomes, score = made(80, seed=1)
    same = RecordedOutcomes(
        "made", outcomes.models, outcomes.prompts, outcomes.answers, outcomes.quality[:, [1, 1]], outcomes.usd
    )
    with pytest.raises(InputError, match="no better than weak"):
        route_curves(same, {"r": score}, **FEW)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": 0.0}, "share of the gap"),
        ({"target": 0.5, "budget": 1.0}, "both target and budget"),
        ({"resamples": 0}, "one resample"),
        ({"level": 1.2}, r"^route_curves: level is 1\.2; it is between 0 and 1$"),
        ({"level": np.nan}, "level is nan"),
        ({"seed": -1}, "^route_curves: seed is -1; give a whole number, 0 or more$"),
        ({"seed": 0.5}, r"seed is 0\.5"),
    ],
)
def test_wrong_requests_are_refused(wrong, said):
    outcomes, score = made(40)
    with pytest.raises(InputError, match=said):
        route_curves(outcomes, {"r": score}, **wrong)
    with pytest.raises(InputError, match="no finite score"):
        route_curves(outcomes, {"r": np.full(40, np.nan)}, **FEW)
    with pytest.raises(InputError, match="3 scores for 40 prompts"):
        route_curves(outcomes, {"r": GivenScores((1.0, 2.0, 3.0))}, **FEW)


@pytest.mark.parametrize("wrong", [5, None, "scores", WordTiers, [None] * 40, np.zeros((40, 2)), np.float64(1)])
def test_what_is_no_router_is_refused_in_a_line(wrong):
    outcomes, score = made(40)
    said = r"^route_curves: 'r' is no router; give a RouterScore or an array of shape \(40,\), not \w+$"
    with pytest.raises(InputError, match=said):
        route_curves(outcomes, {"good": score, "r": wrong}, **FEW)


def test_all_that_is_wrong_with_a_request_is_told_at_once():
    outcomes, _ = made(40)
    with pytest.raises(InputErrors) as caught:
        route_curves(outcomes, {"r": 5}, level=0.0, seed=-1)
    assert [fault.split()[1] for fault in caught.value.faults] == ["seed", "level", "'r'"]


@pytest.mark.parametrize(("n", "half"), [(1, 0), (8, 4), (19, 9)])
def test_too_few_prompts_to_report_on_are_refused_with_what_to_do(n, half):
    outcomes, score = made(n) if n > 1 else alone()
    said = rf"^route_curves: a half has {half} of the {n} prompts, too few to report on; record at least 20"
    with pytest.raises(InputError, match=said):
        route_curves(outcomes, {"r": score}, **FEW)


def alone():
    usd, quality = np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]])
    return RecordedOutcomes("x", ("w", "s"), ("q",), (("a", "b"),), quality, usd), np.zeros(1)


def test_ten_prompts_in_each_half_are_reported_on():
    outcomes, score = made(20, seed=1, gap=0.4)
    assert route_curves(outcomes, {"r": score}, **FEW).table["n"].tolist() == [10]


def test_on_recorded_answers_of_two_models_the_word_rules_do_not_beat_chance_and_a_learnt_cascade_does(needs_shared):
    path = needs_shared("routellm") / "gsm8k_responses.csv"
    outcomes = RecordedOutcomes.read(path, day="2024-06-26")
    right = outcomes.right
    assert (right[:, 0].mean(), right[:, 1].mean(), right.any(axis=1).mean()) == pytest.approx(
        (0.638, 0.857, 0.929), abs=5e-4
    )
    found = route_curves(outcomes, {"words": WordTiers(), "cascade": AnswerWrong()}, resamples=1_000)
    for table in (found.table, found.swapped):
        assert table["verdict"].tolist() == [DOES_NOT, BEATS]
        assert table["curve_verdict"].tolist() == [DOES_NOT, BEATS]
    assert found.table["apgr"][1] > 0.7
