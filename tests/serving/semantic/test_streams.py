"""The bound of the verified cache in simulated streams, and whether these would show it broken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import InputError
from evalkit.serving.semantic import Threshold, Verified, curves
from evalkit.serving.semantic.streams import plain_threshold, simulate
from evalkit.serving.semantic.worlds import WORLDS, Bump, Flat, Logistic, Step, World

ASSUMED = [world for world in WORLDS if world.assumed]
NAMED = {world.name: world for world in WORLDS}


@dataclass(frozen=True)
class Trusting:
    """Gives an entry as soon as it was right once: no promise holds for that."""

    learns: ClassVar[bool] = True

    def chance(self, similarity, seen=()):
        return float(sum(yes for _, _, yes, _ in seen) > 0)

    def observed(self, similarity, seen, right):
        return curves.observed(seen, 0, right)


@dataclass(frozen=True)
class OneByOne:
    """`Verified` as any other rule: decided entry by entry, through what the cache itself calls."""

    rule: Verified

    learns: ClassVar[bool] = True

    def near(self, similarity):
        return self.rule.near(similarity)

    def chance(self, similarity, seen=()):
        return self.rule.chance(similarity, seen)

    def observed(self, similarity, seen, right):
        return self.rule.observed(similarity, seen, right)


# the arithmetic


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, curves.BINS - 1), st.booleans()), max_size=150),
    st.integers(0, curves.BINS - 1),
)
@settings(max_examples=40)
def test_many_entries_at_once_are_judged_as_each_by_itself(steps, at):
    many, seen = curves.Many(3), [[], [], []]
    for row, place, right in steps:
        many.observe(np.array([row]), np.array([place]), np.array([right]))
        seen[row] = curves.observed(seen[row], place, right)
    rows, places = np.arange(3), np.full(3, at)
    alone = [curves.judged(one, at) for one in seen]
    np.testing.assert_allclose(many.mean(rows, places), [mean for mean, _ in alone], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(many.evidence(rows, places), [evidence for _, evidence in alone], rtol=1e-9)
    many.forget(np.array([1]))
    assert many.mean(rows, places)[1] == pytest.approx(curves.judged((), at)[0])
    assert many.evidence(rows, places)[2] == pytest.approx(alone[2][1], rel=1e-9)


@pytest.mark.parametrize(
    "world",
    [
        "rising to 0.98",
        "asked where it hurts",
        "wrong answers move on",
        "the same questions again",
        "changes within the TTL",
    ],
)
def test_a_stream_is_served_as_the_rule_decides_one_request_after_another(world):
    rule, one = Verified(0.1), replace(NAMED[world], entries=4)
    together, alone = simulate(rule, one, 300, 3), simulate(OneByOne(rule), one, 300, 3)
    assert together.given.max() > 0.1
    for name in ("given", "wrong"):
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
    np.testing.assert_allclose(together.expected, alone.expected, rtol=1e-9)


def test_below_the_floor_of_the_rule_nothing_is_given_or_learnt():
    world = World("far", (Flat(1.0),), floor=0.5, centres=False, entries=1)
    rule = Verified(0.1, floor=0.9)
    together, alone = simulate(rule, world, 600, 2), simulate(OneByOne(rule), world, 600, 2)
    assert 0 < together.given.max() < 0.2
    np.testing.assert_array_equal(together.given, alone.given)


# streams


def test_a_stream_is_the_same_however_many_there_are_and_whatever_the_rule():
    world = NAMED["rising gently"]
    few, many = simulate(Verified(0.1), world, 200, 2), simulate(Verified(0.1), world, 200, 5)
    np.testing.assert_array_equal(few.given, many.given[:2])
    assert len(set(simulate(Threshold(0.9), world, 200, 5).given)) > 1
    assert not np.array_equal(simulate(Threshold(0.9), world, 200, 5, seed=1).given, many.given)


def test_a_threshold_is_wrong_as_often_as_the_world_says():
    world = World("half", (Step(0.9, below=0.0, above=0.75),), a=1, b=1, centres=False, entries=10, zipf=0.0)
    found = simulate(Threshold(0.85), world, 1_000, 200)
    served = 1 - 10 / 1_000  # the others make the entries
    assert found.given.mean() == pytest.approx(0.75 * served, abs=0.005)
    assert found.wrong.mean() == pytest.approx((0.25 + 0.5 * 0.25) * served, abs=0.005)
    assert found.estimate().value == pytest.approx(found.wrong.mean(), abs=0.003)
    assert found.estimate("wrong_of_hits").value == pytest.approx(0.5, abs=0.01)
    assert found.verdict(0.5) == "holds"
    assert found.verdict(0.3) == "broken"


def test_an_observation_counts_when_the_model_has_answered():
    at_once, late = (
        simulate(Trusting(), World("late", (Flat(1.0),), entries=1, delay=delay), 100, 1) for delay in (0, 20)
    )
    assert at_once.given[0] == pytest.approx(0.98)  # the first makes it, the second is seen
    assert late.given[0] == pytest.approx(0.78)  # up to the 22nd nothing is known


def test_a_world_that_changes_is_another_in_its_second_half():
    world = World("change", (Flat(1.0),), then=(Flat(0.0),), entries=1)
    found = simulate(Threshold(0.0), world, 400, 5)
    assert (found.early == 0).all()
    assert (found.late == 1).all()
    assert found.wrong.mean() == pytest.approx(0.5)


def test_the_same_question_gets_the_same_judgement_again():
    world = World("again", (Flat(0.5),), entries=1, texts=1)
    wrong = simulate(Threshold(0.0), world, 100, 40).wrong
    assert {0.0, 0.99} == set(wrong.round(6))


def test_a_dip_and_a_slope_are_where_they_are_said_to_be():
    s = np.array([0.85, 0.9, 0.95])
    np.testing.assert_allclose(Bump(0.88, 0.95, 0.2)(s), [1, 0.2, 1])
    np.testing.assert_allclose(Logistic(100, 0.9, 0.8)(s), [0.8 / (1 + np.exp(5)), 0.4, 0.8 / (1 + np.exp(-5))])
    np.testing.assert_allclose(Step(0.9)(s), [0, 1, 1])


# the bound


@pytest.mark.parametrize("world", ASSUMED, ids=lambda world: world.name)
def test_in_a_hundred_streams_wrong_answers_stay_below_the_bound(world):
    found = simulate(Verified(0.05), world, 500, 100)
    assert found.verdict(0.05) == "holds"
    assert found.wrong.mean() <= 0.05
    assert found.worst is not None
    assert found.worst.mean <= 0.05


def test_a_promise_that_does_not_hold_is_found_out():
    found = simulate(Trusting(), NAMED["right at 0.5 anywhere"], 500, 50)
    assert found.verdict(0.05) == "broken"
    changed = replace(NAMED["changes within the TTL"], curves=(Flat(1.0),), then=(Flat(0.0),), entries=1)
    assert simulate(Verified(0.05), changed, 500, 100).verdict(0.05) == "broken"  # which is not assumed


def test_where_wrong_answers_move_requests_to_new_entries_the_lucky_keep_theirs_and_the_share_has_no_bound():
    world = replace(NAMED["wrong answers move on"], curves=(Flat(0.9),), entries=1)
    assert not world.assumed
    found = simulate(Verified(0.05), world, 900, 60)
    assert 0.05 < found.estimate().low < found.estimate().high < 0.07
    stays = simulate(Verified(0.05), replace(world, moves=False), 900, 60)
    assert stays.estimate().high < 0.02


def test_a_threshold_that_keeps_the_bound_in_one_world_breaks_it_in_another():
    one, error = NAMED["right from 0.905 on, steeply"], 0.02
    plain = plain_threshold(one, error, 500, 50)
    assert plain is not None
    lower = Threshold(plain.at - 0.005)  # the next bin
    assert simulate(plain, one, 500, 50).wrong.mean() <= error < simulate(lower, one, 500, 50).wrong.mean()
    for other in ("right at 0.5 anywhere", "never right", "falling"):
        assert simulate(plain, NAMED[other], 500, 50).verdict(error) == "broken"
        assert simulate(Verified(error), NAMED[other], 500, 50).verdict(error) != "broken"


def test_where_no_threshold_keeps_a_bound_there_is_none():
    assert plain_threshold(World("near and wrong", (Flat(0.0),), a=1e6, b=1e-6), 0.02, 100, 3) is None


@pytest.mark.slow
@pytest.mark.parametrize(("world", "error"), [("all of these together", 0.02), ("right at 0.96 anywhere", 0.05)])
def test_the_bound_holds_in_a_thousand_streams(world, error):
    found = simulate(Verified(error), NAMED[world], 1_000, 1_000)
    assert found.verdict(error) == "holds"
    assert found.given.mean() > 0.02


# what is refused


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: World("x", ()), "needs a curve"),
        (lambda: World("x", (Flat(1),), then=(Flat(1), Flat(1))), "in then none or one for each"),
        (lambda: World("x", (Flat(1),), entries=0), "needs an entry"),
        (lambda: World("x", (Flat(1),), floor=1.0), "floor 1.0"),
        (lambda: World("x", (Flat(1),), asks="never"), "asks 'anyhow'"),
        (lambda: World("x", (Flat(1),), asks="where it hurts", texts=2), "without texts and then"),
        (lambda: simulate(Threshold(), WORLDS[0], 3, 1), "1 streams of 3 requests"),
        (lambda: simulate(Verified(floor=0.7), WORLDS[0], 10, 1), "the floor of 'always right' is 0.8"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_line(make, told):
    with pytest.raises(InputError, match=r"^(World|simulate): ") as refused:
        make()
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
