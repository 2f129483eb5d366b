from __future__ import annotations

import math
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from evalkit import InputError
from evalkit.serving.semantic import curves
from evalkit.serving.semantic.decisions import Threshold, Verified

# thresholds


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_the_four_measures_say_the_same_of_one_pair(seed, at):
    rng = np.random.default_rng(seed)
    a, b = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 8)))
    b = a + 0.3 * b
    b /= np.linalg.norm(b)
    similarity = float(a @ b)
    distance = float(np.linalg.norm(a - b))
    for measure, value, near in [
        ("L2", distance, distance <= at),
        ("squared L2", distance**2, distance**2 <= at),
        ("cosine distance", 1 - similarity, 1 - similarity <= at),
        ("cosine", similarity, similarity >= at),
    ]:
        if abs(value - at) > 1e-12:
            assert Threshold(at, measure).chance(similarity) == float(near)


@pytest.mark.parametrize(
    ("rule", "cosine"),
    [
        (Threshold(0.05, "L2"), 0.99875),
        (Threshold(0.05, "squared L2"), 0.975),
        (Threshold(0.05, "cosine distance"), 0.95),
        (Threshold(0.95), 0.95),
    ],
)
def test_what_0_05_is_as_a_cosine_depends_on_the_measure(rule, cosine):
    assert rule.least_cosine == pytest.approx(cosine, abs=1e-15)
    assert rule.chance(rule.least_cosine) == 1
    assert rule.chance(math.nextafter(rule.least_cosine, -1)) == 0


@pytest.mark.parametrize(
    "rule", [Threshold(1.0), Threshold(0, "L2"), Threshold(0, "squared L2"), Threshold(0, "cosine distance")]
)
def test_a_cosine_of_1_or_a_distance_of_0_lets_only_equal_vectors_through(rule):
    assert rule.chance(1.0) == 1
    assert rule.chance(math.nextafter(1.0, 0)) == 0


def test_a_cosine_of_0_means_0_and_the_farthest_bound_lets_everything_through():
    assert [Threshold(0.0).chance(s) for s in (0.0, 1e-9, -1e-9)] == [1, 1, 0]
    for everything in (
        Threshold(-1.0),
        Threshold(2, "L2"),
        Threshold(4, "squared L2"),
        Threshold(2, "cosine distance"),
    ):
        assert everything.chance(-1.0000001) == 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Threshold(1.5), "at is 1.5; as cosine it is from -1 to 1"),
        (lambda: Threshold(-0.1, "L2"), "from 0 to 2"),
        (lambda: Threshold(0.9, "dot"), "measure is 'dot'"),
        (lambda: Threshold(math.nan), "at is nan"),
        (lambda: Verified(error=0), "error is 0"),
        (lambda: Verified(error=1), "error is 1"),
        (lambda: Verified(floor=1), "floor is 1"),
        (lambda: Verified(explore=-1), "explore and f1"),
        (lambda: Verified(same="judge"), "same is 'judge'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_in_one_line(make, told):
    with pytest.raises(InputError, match=r"^(Threshold|Verified): ") as refused:
        make()
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


# what is seen


@given(st.lists(st.tuples(st.integers(0, curves.BINS - 1), st.booleans()), max_size=80))
def test_observations_add_up_and_come_out_of_json_as_they_went_in(steps):
    seen: list[list[int]] = []
    for at, right in steps:
        seen = curves.observed(seen, at, right)
    assert sum(yes for _, _, yes, _ in seen) == sum(right for _, right in steps)
    assert sum(no for _, _, _, no in seen) == sum(not right for _, right in steps)
    assert all(type(number) is int for row in seen for number in row)
    assert [sum(yes + no for span, _, yes, no in seen if span == s) for s in range(5)] == [
        min(len(steps), 8), *(max(0, min(len(steps), 8 * 2**s) - 4 * 2**s) for s in range(1, 5))
    ]  # fmt: skip


def outcomes(bins):
    """Every way in which observations in these bins can turn out."""
    for rights in product([True, False], repeat=len(bins)):
        seen: list[list[int]] = []
        for at, right in zip(bins, rights, strict=True):
            seen = curves.observed(seen, at, right)
        yield rights, seen


@pytest.mark.parametrize("bins", [[30] * 11, [5, 38] * 5, list(range(0, 40, 4))])
def test_no_curve_has_an_e_value_above_1_in_expectation(bins):
    table = curves._curves()
    mean = np.zeros(len(table.prior))
    for rights, seen in outcomes(bins):
        likelihood = np.ones(len(table.prior))
        for at, right in zip(bins, rights, strict=True):
            likelihood *= 1 - table.wrong[at] if right else table.wrong[at]
        # what `judged` divides by the chance of being wrong, for every curve: here with a chance of 1 but for one
        values = np.array([_e_values(seen)]).ravel()
        mean += likelihood * values
    np.testing.assert_allclose(mean, 1.0, rtol=1e-6)


def _e_values(seen):
    """E-values by their definition: the weighted mean of likelihood ratios, observation by observation."""
    table, weights = curves._curves(), curves._STARTS
    prior = np.exp(table.prior)
    found = np.ones((len(weights), len(prior)))
    posterior = prior / prior.sum()
    for span, at, yes, no in seen:  # within a span the order of observations does not matter
        for right in [True] * yes + [False] * no:
            chance = 1 - table.wrong[at] if right else table.wrong[at]
            foretold = posterior @ chance
            found[: span + 1] *= foretold / chance
            posterior = posterior * chance / foretold
    return weights @ found


@given(
    st.lists(st.tuples(st.integers(0, curves.BINS - 1), st.booleans()), max_size=40), st.integers(0, curves.BINS - 1)
)
@settings(max_examples=40)
def test_what_is_judged_follows_from_the_definitions(steps, at):
    seen: list[list[int]] = []
    for place, right in steps:
        seen = curves.observed(seen, place, right)
    table = curves._curves()
    posterior = np.exp(table.prior)
    for place, right in steps:
        posterior = posterior * (1 - table.wrong[place] if right else table.wrong[place])
        posterior /= posterior.sum()
    mean, evidence = curves.judged(seen, at)
    assert mean == pytest.approx(1 - posterior @ table.wrong[at] / posterior.sum(), abs=1e-9)
    assert evidence == pytest.approx((_e_values(seen) / table.wrong[at]).min(), rel=1e-6)


# the bound


def exact_errors(rule, similarities, right):
    """The probability that each request is given a wrong answer: over all draws and all outcomes, no sampling."""
    states, found, known = {(): 1.0}, [], {}
    for s, p in zip(similarities, right, strict=True):
        following: dict[tuple, float] = defaultdict(float)
        wrong = 0.0
        for state, weight in states.items():
            if (s, state) not in known:
                known[s, state] = rule.chance(s, state)
            chance = known[s, state]
            wrong += weight * chance * (1 - p)
            following[state] += weight * chance
            for yes, share in ((True, p), (False, 1 - p)):
                if chance < 1 and share > 0:
                    seen = tuple(map(tuple, rule.observed(s, state, yes)))
                    following[seen] += weight * (1 - chance) * share
        states = following
        found.append(wrong)
    return np.array(found)


@pytest.mark.parametrize("error", [0.02, 0.2])
@pytest.mark.parametrize(
    ("near", "far"),
    [
        (0.99, 0.99),
        (0.97, 0.97),
        (0.9, 0.9),
        (0.8, 0.8),
        (0.5, 0.5),
        (0.95, 0.3),
        (0.5, 1.0),
        (0.0, 1.0),
        (0.9, 0.99),
    ],
)
def test_no_request_is_given_a_wrong_answer_with_more_than_the_declared_probability(error, near, far):
    rule = Verified(error)
    asked = [(0.99, near), (0.85, far), (0.99, near)] * 4
    errors = exact_errors(rule, [s for s, _ in asked], [p for _, p in asked])
    assert errors.max() <= error * (1 + 1e-6)  # a chance of exactly 0 or 1 lies 1e-9 beside the next curve
    if error == 0.2 and 0.8 <= near < 1:
        assert errors.max() > 0  # it was put to the test


def logistic(slope, location, ceiling=1.0):
    return lambda s: ceiling / (1 + np.exp(-slope * (s - location)))


WORLDS = {
    "always right": (lambda s: 1.0, 0.5),
    "right from 0.87 on": (lambda s: float(s >= 0.871), 0.15),
    "rising": (logistic(100, 0.87), 0.03),
    "rising to a ceiling": (logistic(150, 0.85, 0.96), 0.0),
    "right in two of three cases": (lambda s: 2 / 3, 0.0),
    "just below the bound": (lambda s: 0.97, 0.02),
    "falling": (logistic(-60, 0.9), 0.0),
    "right only from afar": (lambda s: float(s < 0.93), 0.1),
    "never right": (lambda s: 0.0, 0.0),
}


@pytest.mark.parametrize("world", WORLDS)
def test_over_many_requests_wrong_answers_stay_below_the_bound_and_easy_entries_are_given(world):
    right, least = WORLDS[world]
    rule, rng, requests, entries = Verified(0.02), np.random.default_rng(0), 150, 20
    given_wrong = given_all = 0
    for _ in range(entries):
        seen: list[list[int]] = []
        for s in rng.uniform(0.8, 1, requests):
            yes = bool(rng.random() < right(s))
            if rng.random() < rule.chance(s, seen):
                given_all += 1
                given_wrong += not yes
            else:
                seen = rule.observed(s, seen, yes)
    total = entries * requests
    assert given_wrong <= binom.ppf(0.999, total, rule.error)
    assert given_all >= least * total


def test_at_first_nothing_is_given_and_then_more_with_every_right_answer():
    rule, seen, chances = Verified(), [], []
    for _ in range(60):
        chances.append(rule.chance(0.95, seen))
        seen = rule.observed(0.95, seen, True)
    assert chances[:4] == [0.0] * 4
    assert chances == sorted(chances)
    assert chances[-1] == 1 - rule.explore
    assert next(n for n, chance in enumerate(chances) if chance > 0) <= 8


def test_one_wrong_answer_takes_back_what_many_right_ones_gave():
    rule, seen = Verified(), []
    for _ in range(40):
        seen = rule.observed(0.95, seen, True)
    before = rule.chance(0.95, seen)
    after = rule.chance(0.95, rule.observed(0.95, seen, False))
    assert after < before / 3


def test_below_the_floor_nothing_is_given_whatever_was_seen():
    rule, seen = Verified(floor=0.9), []
    for _ in range(100):
        seen = rule.observed(0.95, seen, True)
    assert rule.chance(0.95, seen) > 0.9
    assert rule.chance(math.nextafter(0.9, 0), seen) == 0
    assert not rule.near(0.89)
    assert rule.near(0.9)


@pytest.mark.parametrize(
    ("rule", "one", "other", "equal"),
    [
        (Verified(), "The fee is 3 %.", "fee is 3", True),
        (Verified(), "The fee is 3 %.", "The fee is 4 %.", False),
        (Verified(same="token F1", f1=0.8), "the fee is 3 percent a month", "the monthly fee is 3 percent", True),
        (Verified(same="token F1", f1=1.0), "the fee is 3 percent a month", "the monthly fee is 3 percent", False),
        (Verified(same="token F1", f1=0.0), "yes", "no", True),
    ],
)
def test_when_two_answers_are_one_is_declared(rule, one, other, equal):
    assert rule.equal(one, other) is equal
