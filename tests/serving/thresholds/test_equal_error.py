"""The threshold that a verified rule is compared with, and what the comparison says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import InputError
from evalkit.serving.arrivals import Arrival
from evalkit.serving.semantic import Threshold, Verified
from evalkit.serving.thresholds.equal_error import at_equal_error, equal_error_table
from evalkit.serving.thresholds.swept import MISS, Setting, ThresholdSweep

RULES = (Threshold(0.99), Threshold(0.9), Threshold(0.8), Verified(0.05))
SETTINGS = tuple(Setting(rule, 60.0, "none") for rule in RULES)
RIGHT, WRONG = 0, 1  # who made the two entries
MADE = (Arrival("a", intent="fee"), Arrival("b", intent="limit"))


def swept(*rows: list[int], settings: tuple[Setting, ...] = SETTINGS, intents: list[str] | None = None):
    """A sweep of which every request wants the fee; of each setting, whose answer it gives."""
    n = len(rows[0])
    asked = [Arrival(f"{i}", at=float(i), intent="fee" if intents is None else intents[i]) for i in range(n)]
    return ThresholdSweep(asked, settings, np.array(rows, dtype=np.int32), MADE)


def given_out(right: int, wrong: int, n: int = 20) -> list[int]:
    return [RIGHT] * right + [WRONG] * wrong + [MISS] * (n - right - wrong)


def test_the_threshold_is_the_one_with_most_hits_that_is_wrong_no_more_often():
    sweep = swept(given_out(2, 0), given_out(6, 1), given_out(12, 3), given_out(9, 1))
    answers, hits = at_equal_error(sweep, Verified(0.05), clusters=np.arange(20))
    assert (answers.threshold, answers.of, answers.chosen_on) == (1, "answers", "the same requests")
    assert hits.threshold == 0  # one of seven is more than one of ten
    assert answers.hits.difference == pytest.approx((10 - 7) / 20)
    assert answers.right_hits.difference == pytest.approx((9 - 6) / 20)
    assert answers.verified_error.value == answers.threshold_error.value == pytest.approx(1 / 20)
    assert hits.verified_error.value == pytest.approx(1 / 10)
    assert hits.threshold_error.value == 0
    assert hits.threshold_error.n == 2
    assert answers.requests == 20


def test_where_every_threshold_is_wrong_more_often_the_rule_stands_against_giving_nothing():
    sweep = swept(given_out(0, 2), given_out(5, 2), given_out(5, 3), given_out(4, 1))
    for one in at_equal_error(sweep, 3):
        assert one.threshold is None
        assert one.labels == ("verified 0.05", "nothing")
        assert one.hits.baseline == 0
        assert one.hits.difference == pytest.approx(5 / 20)


def test_a_rule_that_gives_nothing_is_wrong_about_nothing_and_may_only_lose():
    sweep = swept(given_out(2, 0), given_out(6, 1), given_out(12, 3), given_out(0, 0))
    for one in at_equal_error(sweep, 3):
        assert one.threshold == 0
        assert one.hits.difference == pytest.approx(-2 / 20)
    assert np.isnan(at_equal_error(sweep, 3)[1].verified_error.value)


def test_only_thresholds_with_the_same_guard_and_ttl_stand_beside_it():
    others = [Setting(Threshold(0.7), None, "none"), Setting(Threshold(0.7), 60.0, "corpus")]
    all_right = [given_out(20, 0), given_out(20, 0)]
    sweep = swept(
        given_out(2, 0), *all_right, given_out(9, 0), settings=(SETTINGS[0], *others, SETTINGS[3])
    )  # fmt: skip
    assert {one.threshold for one in at_equal_error(sweep, 3)} == {0}
    with pytest.raises(InputError, match=r"no plain threshold with guard none and ttl 60\.0"):
        at_equal_error(swept(*all_right, given_out(9, 0), settings=(*others, SETTINGS[3])), 2)


def test_a_threshold_chosen_on_dev_is_looked_at_on_the_others():
    first = np.arange(20) < 10
    strict = [RIGHT] * 3 + [MISS] * 7 + [RIGHT] * 2 + [MISS] * 8
    lax = [RIGHT] * 9 + [MISS] + [WRONG] * 6 + [MISS] * 4  # right on dev, and wrong on the others
    verified = [RIGHT] * 5 + [MISS] * 5 + [RIGHT] * 5 + [MISS] * 5
    sweep = swept(strict, lax, verified, settings=(SETTINGS[0], SETTINGS[1], SETTINGS[3]))
    same, _, dev, _ = at_equal_error(sweep, 2, dev=first, clusters=np.arange(20))
    assert (same.threshold, dev.threshold) == (0, 1)
    assert (same.requests, dev.requests) == (20, 10)
    assert dev.threshold_error.value == pytest.approx(0.6)
    assert dev.hits.difference == pytest.approx(-0.1)
    assert dev.right_hits.difference == pytest.approx(0.5)
    with pytest.raises(InputError, match="no request to choose on or to look at"):
        at_equal_error(sweep, 2, where=first, dev=first)


def test_requests_that_nobody_can_judge_under_some_setting_are_left_out_of_all():
    intents = ["fee"] * 10 + [""] * 10
    sweep = swept(*([given_out(9, 1)] * 4), intents=intents)
    assert [one.requests for one in at_equal_error(sweep, 3)] == [10, 10]


def test_requests_for_one_intent_hang_together():
    intents = [f"of {i // 10}" for i in range(200)]
    rng = np.random.default_rng(0)
    gains = np.repeat(rng.random(20) < 0.5, 10)
    rows = [[MISS] * 200, [len(MADE) + i // 10 * 10 if gain else MISS for i, gain in enumerate(gains)]]
    sweep = swept(*rows, settings=(SETTINGS[0], SETTINGS[3]), intents=intents)
    (by_intent, _), (alone, _) = at_equal_error(sweep, 1), at_equal_error(sweep, 1, clusters=np.arange(200))
    assert by_intent.hits.difference == alone.hits.difference
    assert by_intent.hits.high - by_intent.hits.low > 2 * (alone.hits.high - alone.hits.low)


@given(st.lists(st.lists(st.sampled_from([RIGHT, WRONG, MISS]), min_size=12, max_size=12), min_size=4, max_size=4))
@settings(max_examples=30)
def test_no_threshold_that_is_wrong_no_more_often_hits_more(rows):
    sweep = swept(*rows)
    for one in at_equal_error(sweep, 3):
        hits = [sum(place != MISS for place in row) for row in rows]
        wrong = [sum(place == WRONG for place in row) for row in rows]
        share = [w if one.of == "answers" else w / h if h else 0.0 for w, h in zip(wrong, hits, strict=True)]
        best = max((hits[i] for i in range(3) if share[i] <= share[3]), default=0)
        assert one.hits.baseline == pytest.approx(best / 12)
        assert one.hits.difference == pytest.approx((hits[3] - best) / 12)


def test_the_table_has_a_row_each_and_a_line_says_it_in_words():
    sweep = swept(given_out(2, 0), given_out(6, 1), given_out(12, 3), given_out(9, 1))
    found = at_equal_error(sweep, 3, clusters=np.arange(20))
    table = equal_error_table(found)
    assert list(table["wrong_of"]) == ["answers", "hits"]
    assert list(table["gained"].round(9)) == [0.15, 0.4]
    assert (table["gained_low"] <= table["gained"]).all()
    assert str(found[0]).startswith("verified 0.05 gains 15.00% of requests as hits against 0.9 (")


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda sweep: at_equal_error(sweep, 0), "setting 0 is 0.99; name a verified one"),
        (lambda sweep: at_equal_error(sweep, Verified(0.3)), "0 settings with Verified"),
        (lambda sweep: at_equal_error(sweep, 3, where=np.zeros(20, dtype=np.bool_)), "no request to choose on"),
        (lambda sweep: at_equal_error(sweep, 3, dev=np.zeros(3, dtype=np.bool_)), "shape (3,)"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(ask, told):
    with pytest.raises(InputError) as refused:
        ask(swept(given_out(2, 0), given_out(6, 1), given_out(12, 3), given_out(9, 1)))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("verified", "options", "said"),
    [
        (0, {}, "name a verified one"), (5, {}, "no setting 5 among 4"), (-1, {}, "no setting -1"),
        (np.int64(1), {}, "setting 1 is"), (3, {"clusters": np.arange(3)}, "clusters has shape"),
        (3, {"seed": -1}, "seed is -1"), (3, {"level": 1.5}, "level is 1.5"), (3, {"dev": [1]}, "dev has shape"),
    ],
)  # fmt: skip
def test_settings_clusters_and_draws_that_are_none_are_refused_in_one_line(verified, options, said):
    sweep = swept(given_out(2, 0), given_out(6, 1), given_out(12, 3), given_out(9, 1))
    with pytest.raises(InputError, match=said) as refused:
        at_equal_error(sweep, verified, **options)
    assert "\n" not in str(refused.value)
