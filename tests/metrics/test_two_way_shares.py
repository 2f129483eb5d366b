"""Shares of events in entries and conversations: by hand, by laws, and covered as often as is claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evalkit.metrics import MetricError
from evalkit.metrics.statistics import calibration, clustered_proportion_interval, proportion_interval
from evalkit.metrics.statistics.two_way import Crossed, two_way_proportion_interval

ENTRIES, REQUESTS, TURNS = 500, 2_500, 7
POPULARITY = 1 / np.arange(1, ENTRIES + 1)


def labels(rng):
    """Entries by Zipf's law; half of the requests alone, the others in conversations of 2 to 7 turns."""
    lengths = np.where(rng.random(REQUESTS) < 0.7, 1, rng.integers(2, TURNS + 1, REQUESTS))
    talks = np.repeat(np.arange(REQUESTS), lengths)[:REQUESTS]
    return rng.choice(ENTRIES, REQUESTS, p=POPULARITY / POPULARITY.sum()), talks


def world(kind, share, rng):
    """Draw events whose expected share is known."""
    entries, talks = labels(rng)
    if kind == "independent":
        chance = np.full(REQUESTS, share)
    elif kind == "alike":  # correlation 0.1 within an entry, and within a conversation
        one, other = rng.beta(share / 2 * 9, (1 - share / 2) * 9, (2, REQUESTS))
        chance = one[entries] + other[talks]
    elif kind == "half wrong":  # bad entries and conversations, half of whose events happen
        one, other = rng.random((2, REQUESTS)) < share
        chance = 0.5 * one[entries] + 0.5 * other[talks]
    elif kind == "all or none":  # an entry is right or wrong for good
        chance = (rng.random(REQUESTS) < share)[entries].astype(float)
    else:  # "popular worse": badness grows with the root of popularity
        size = POPULARITY**0.5
        odds = share * size / np.average(size, weights=POPULARITY)
        chance = (0.5 * (rng.random(ENTRIES) < np.minimum(2 * odds, 1)))[entries]
    return rng.random(REQUESTS) < chance, entries, talks


def covered(kind, share, experiments, *, alike, seed):
    rng = np.random.default_rng(seed)
    return sum(
        two_way_proportion_interval(*world(kind, share, rng), side="upper", alike=alike).high >= share
        for _ in range(experiments)
    )


def claim_id(claim):
    return f"{claim.population}-{claim.events}-{'alike' if claim.alike else 'trials'}"


def hold(claim, experiments, seed):
    """Reject a claim (of 5,000 experiments) that is out of the 99.9 % interval of what is measured."""
    count = covered(claim.population, claim.events, experiments, alike=claim.alike, seed=seed)
    interval = stats.binomtest(count, experiments).proportion_ci(0.999, method="exact")
    assert interval.low - 0.005 <= claim.share <= interval.high + 0.005, count / experiments


@pytest.mark.parametrize("claim", [c for c in calibration.TWO_WAY if c.alike and c.events == 0.01], ids=claim_id)
def test_upper_bounds_cover_about_as_often_as_claimed(claim):
    hold(claim, 300, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("claim", calibration.TWO_WAY, ids=claim_id)
def test_upper_bounds_of_rare_events_cover_as_often_as_claimed(claim):
    hold(claim, 1_500, seed=2)


def test_bounds_with_alike_cover_wherever_badness_does_not_hang_on_popularity():
    alike = [c for c in calibration.TWO_WAY if c.alike and c.population != "popular worse"]
    assert len(alike) == 12
    assert min(claim.share for claim in alike) >= 0.95


def by_hand(happened, one, other, level):
    """Cameron, Gelbach and Miller's variance over all pairs of trials, and Korn and Graubard's interval."""
    n, share = len(happened), happened.mean()
    residuals = happened - share
    pairs = np.outer(residuals, residuals)
    same, alike = one[:, None] == one, other[:, None] == other

    def of(mask, labels):
        groups = len(set(labels))
        return groups / (groups - 1) * pairs[mask].sum() / n**2

    first, second = of(same, one.tolist()), of(alike, other.tolist())
    variance = max(
        first + second - of(same & alike, list(zip(one.tolist(), other.tolist(), strict=True))), first, second
    )
    groups, tail = min(len(set(one.tolist())), len(set(other.tolist()))), (1 + level) / 2
    shrink = (stats.t.ppf(tail, n - 1) / stats.t.ppf(tail, groups - 1)) ** 2
    trials = min(n, share * (1 - share) / variance * shrink)
    x = share * trials
    return stats.beta.ppf(1 - tail, x, trials - x + 1), stats.beta.ppf(tail, x + 1, trials - x)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_korn_graubards_with_the_sum_of_all_pairs_that_share_a_cluster(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 30, 300), rng.integers(0, 40, 300)
    happened = rng.random(300) < rng.beta(1, 4, 30)[one] * 0.7 + 0.3 * rng.beta(1, 4, 40)[other]
    found = two_way_proportion_interval(happened, one, other, level=0.9)
    assert (found.low, found.high) == pytest.approx(by_hand(happened.astype(float), one, other, 0.9))


events = st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=80)


@given(events, st.booleans())
def test_labels_are_names_only_and_the_ends_hold_the_share(rows, alike):
    happened, one, other = (np.array(column) for column in zip(*rows, strict=True))
    found = two_way_proportion_interval(happened, one, other, alike=alike)
    renamed = two_way_proportion_interval(
        happened, [f"e{12 - x}" for x in one], [f"c{(x * 5) % 13}" for x in other], alike=alike
    )
    assert (renamed.low, renamed.high) == pytest.approx((found.low, found.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(events, st.sampled_from(["upper", "lower"]), st.booleans())
def test_one_sided_bounds_are_the_ends_of_the_two_sided_interval_with_twice_the_error(rows, side, alike):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    one = two_way_proportion_interval(*columns, level=0.95, side=side, alike=alike)
    both = two_way_proportion_interval(*columns, level=0.9, alike=alike)
    assert one.high == (pytest.approx(both.high) if side == "upper" else 1.0)
    assert one.low == (pytest.approx(both.low) if side == "lower" else 0.0)


@given(events)
def test_alike_only_ever_widens(rows):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    narrow = two_way_proportion_interval(*columns)
    wide = two_way_proportion_interval(*columns, alike=True)
    assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_without_any_event_the_fewer_clusters_are_the_trials():
    one, other = np.arange(600) % 40, np.arange(600)
    found = two_way_proportion_interval(np.zeros(600), one, other, side="upper", alike=True)
    assert found.high == pytest.approx(1 - 0.05 ** (1 / 40))
    alone = two_way_proportion_interval(np.zeros(600), other, other, side="upper")
    assert alone.high == pytest.approx(1 - 0.05 ** (1 / 600))


def test_an_entry_with_many_hits_and_no_error_does_not_vouch_for_the_others():
    """Ten of forty small entries are bad; the large one is not, and has nine tenths of the hits."""
    one = np.concatenate([np.zeros(720, dtype=int), 1 + np.arange(80) % 40])
    bad = (one > 0) & (one <= 10)
    by_trials = two_way_proportion_interval(bad, one, np.arange(800), side="upper")
    alike = two_way_proportion_interval(bad, one, np.arange(800), side="upper", alike=True)
    assert by_trials.high < 0.12 < 10 / 41 < alike.high


def test_independent_trials_have_nearly_the_interval_of_clopper_and_pearson():
    rng = np.random.default_rng(0)
    happened = rng.random(4_000) < 0.1
    found = two_way_proportion_interval(happened, np.arange(4_000), np.arange(4_000))
    plain = proportion_interval(int(happened.sum()), 4_000)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-3)


def test_a_second_kind_of_clusters_that_says_nothing_gives_the_one_way_interval():
    rng = np.random.default_rng(1)
    one = rng.integers(0, 50, 1_000)
    happened = rng.random(1_000) < rng.beta(1, 9, 50)[one]
    found = two_way_proportion_interval(happened, one, np.zeros(1_000) + np.arange(1_000))
    plain = clustered_proportion_interval(happened, one)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (([1, 0], [1], [1, 2]), {}, "labels"),
        (([1, 2], [1, 1], [1, 2]), {}, "true or false"),
        (([1, 0], [1, 1], [1, 2]), {"side": "left"}, "side"),
        (([1, 0], [1, 1], [1, 2]), {"side": "upper", "level": 0.5}, "0.5"),
        (([1, 0], [1, 1], [1, 2]), {"level": 1.0}, "level"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, said):
    with pytest.raises(MetricError, match=said):
        two_way_proportion_interval(*arguments, **options)


def test_no_trial_says_nothing():
    found = two_way_proportion_interval([], [], [])
    assert np.isnan(found.value)
    assert (found.low, found.high, found.n) == (0.0, 1.0, 0)


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 12), st.floats(0.5, 0.999), st.booleans())
def test_trials_may_be_some_of_what_is_crossed(seed: int, n: int, groups: int, level: float, alike: bool) -> None:
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, groups, n), np.where(draw.random(n) < 0.5, np.arange(n), draw.integers(0, 4, n))
    trials = draw.random(n) < 0.8
    happened = trials & (draw.random(n) < draw.random(groups)[first])
    found = Crossed(first, second).share(happened, trials, alike=alike).at(level)
    labels = first[trials], second[trials]
    wanted = two_way_proportion_interval(happened[trials], *labels, level=level, alike=alike)
    np.testing.assert_allclose([found.low, found.high, found.n], [wanted.low, wanted.high, wanted.n], atol=1e-9)
    np.testing.assert_equal(found.value, wanted.value)
    assert found.method == wanted.method


@given(st.integers(0, 10_000), st.integers(2, 80))
def test_a_mean_without_repeats_has_students_interval_and_stays_among_its_values(seed: int, n: int) -> None:
    from scipy.stats import t

    values = np.random.default_rng(seed).exponential(1.0, n)
    found = Crossed(np.arange(n), np.arange(n)).mean(values)
    half = t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    assert found.low == pytest.approx(max(values.mean() - half, values.min()))
    assert found.high == pytest.approx(min(values.mean() + half, values.max()))


def test_a_mean_of_what_is_repeated_is_known_no_better() -> None:
    values = np.random.default_rng(1).random(50)
    once = Crossed(np.arange(50), np.arange(50)).mean(values)
    labels = np.repeat(np.arange(50), 8)
    for crossed in (Crossed(labels, np.arange(400)), Crossed(np.arange(400), labels), Crossed(labels, labels)):
        often = crossed.mean(np.repeat(values, 8))
        assert often.low == pytest.approx(once.low)
        assert often.high == pytest.approx(once.high)
