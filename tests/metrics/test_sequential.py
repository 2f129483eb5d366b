"""Confidence sequences hold what they promise: at every look at once, with and without replacement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from simulations import RANKS, SHARES

from evalkit.metrics import MetricError
from evalkit.metrics.sequential import confidence_sequence

SETS = {
    "even": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "rare": lambda rng, n: (rng.random(n) < 0.04).astype(float),
    "frequent": lambda rng, n: (rng.random(n) < 0.96).astype(float),
    "one": lambda rng, n: (np.arange(n) == 0).astype(float),
    "reciprocal rank": lambda rng, n: rng.choice(RANKS, n, p=SHARES),
    "constant": lambda rng, n: np.full(n, 1 / 3),
    "skewed": lambda rng, n: rng.beta(0.2, 2, n),
}


def coverage(kind: str, n: int, races: int, level: float, population: bool) -> int:
    """Count the orders, or samples, in which every interval holds the mean."""
    rng = np.random.default_rng(11)
    whole = SETS[kind](rng, n)
    orders = rng.permuted(np.tile(whole, (races, 1)), axis=1).T
    drawn = orders if population else rng.choice(whole, (n, races))
    low, high = confidence_sequence(drawn, population=n if population else None, level=level)
    return int(((low <= whole.mean() + 1e-9) & (whole.mean() - 1e-9 <= high)).all(axis=0).sum())


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize(("n", "level"), [(1, 0.95), (2, 0.8), (5, 0.8), (40, 0.95)])
def test_all_intervals_hold_the_mean_of_the_set_as_often_as_promised(kind, n, level):
    covered = coverage(kind, n, 1_000, level, population=True)
    assert stats.binomtest(covered, 1_000, level, alternative="less").pvalue > 0.001


@pytest.mark.parametrize("kind", ["even", "rare", "reciprocal rank"])
def test_all_intervals_hold_the_mean_of_independent_draws(kind):
    covered = coverage(kind, 60, 1_000, 0.9, population=False)
    assert stats.binomtest(covered, 1_000, 0.9, alternative="less").pvalue > 0.001


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("population", [True, False])
def test_all_intervals_hold_the_mean_over_long_sequences(kind, population):
    covered = coverage(kind, 500, 2_000, 0.9, population)
    assert stats.binomtest(covered, 2_000, 0.9, alternative="less").pvalue > 0.001


def refused(values, n, mean, level):
    """The promise's other side, by its definition: whether some bet on a higher mean has succeeded by the end."""
    best = 0.0
    for end in range(1, len(values) + 1):
        capital = 0.0
        for bet in 0.9 * 0.5 ** np.arange(7):
            stake = 1.0
            for i, value in enumerate(values[:end]):
                limit = (n * mean - sum(values[:i])) / (n - i) if n else mean
                if limit < 0 or (limit == 0 and value > 0):
                    return True
                stake *= 1.0 if limit == 0 else 1 + bet * (value / min(limit, 1) - 1)
            capital += stake / 7
        best = max(best, capital)
    return best >= 2 / (1 - level)


@given(
    st.lists(st.sampled_from([0.0, 0.125, 0.5, 1.0]), min_size=1, max_size=12),
    st.one_of(st.none(), st.integers(0, 8)),
    st.sampled_from([0.5, 0.9]),
)
@settings(max_examples=40, deadline=None)
def test_the_ends_are_where_the_bets_succeed_and_never_too_close(values, more, level):
    n = None if more is None else len(values) + more
    low, high = (ends[-1] for ends in confidence_sequence(values, population=n, level=level))
    mirrored = [1 - value for value in values]
    if low > 1e-9:
        logical = n is not None and low <= sum(values) / n + 1e-9
        assert logical or refused(values, n, low - 1e-9, level)
    if high < 1 - 1e-9:
        logical = n is not None and high >= 1 - sum(mirrored) / n - 1e-9
        assert logical or refused(mirrored, n, 1 - high - 1e-9, level)
    if low + 2 / 256 < 1:  # means are tried in steps of 1 / 256
        assert not refused(values, n, low + 2 / 256, level)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_ends_close_in_and_meet_when_the_whole_set_was_seen(values, more):
    low, high = confidence_sequence(values, low=-1, high=1, population=len(values) + more)
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    assert (low <= high).all()
    if more == 0:
        assert low[-1] <= np.mean(values) + 1e-12
        assert high[-1] >= np.mean(values) - 1e-12
        assert high[-1] - low[-1] < 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_a_sequence_scales_mirrors_and_stands_by_itself(values, more):
    n, column = len(values) + more, np.array(values)
    low, high = confidence_sequence(column, population=n)
    for found, expected in zip(
        confidence_sequence(column * 4 - 1, low=-1, high=3, population=n), (low, high), strict=True
    ):
        assert found == pytest.approx(4 * expected - 1, abs=1e-6)
    mirrored = confidence_sequence(1 - column, population=n)
    assert 1 - mirrored[1] == pytest.approx(low, abs=1e-9)
    beside = confidence_sequence(np.column_stack([column[::-1], column]), population=n)
    assert np.array_equal(beside[0][:, 1], low)
    assert np.array_equal(beside[1][:, 1], high)


def test_what_comes_later_changes_no_earlier_end():
    values = np.random.default_rng(1).random(50)
    whole, head = (confidence_sequence(values[:n], population=80) for n in (50, 20))
    for long, short in zip(whole, head, strict=True):
        assert np.array_equal(long[:20], short)


@pytest.mark.parametrize("kind", ["even", "reciprocal rank"])
def test_looking_all_the_time_costs_less_than_twice_the_width_of_looking_once(kind):
    values = SETS[kind](np.random.default_rng(2), 1_000)
    low, high = confidence_sequence(values, population=1_000)
    for t in (64, 256, 512):
        once = stats.t.ppf(0.975, t - 1) * values[:t].std(ddof=1) * ((1_000 - t) / 999 / t) ** 0.5
        assert 1 < (high - low)[t - 1] / 2 / once < 2


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"values": []}, "at least one observation"),
        ({"values": [0.5, np.nan]}, "not between 0 and 1; leave out"),
        ({"values": [0.5, 1.5]}, "not between 0 and 1"),
        ({"values": [0.5], "low": 1, "high": 1}, "low is below high"),
        ({"values": [0.5], "high": np.inf}, "both are finite"),
        ({"values": [0.5, 0.5], "population": 1}, "2 observations of a population of 1"),
        ({"values": [0.5], "level": 1.0}, "level must lie between 0 and 1"),
    ],
)
def test_what_has_no_sequence_is_refused(arguments, what):
    with pytest.raises(MetricError, match=what):
        confidence_sequence(arguments.pop("values"), **arguments)
