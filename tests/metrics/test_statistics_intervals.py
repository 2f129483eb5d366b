"""Intervals against SciPy, exact enumeration and hand-worked cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from evalkit.metrics import MetricError
from evalkit.metrics.statistics import (
    bootstrap_means,
    clustered_proportion_interval,
    mean_interval,
    mean_intervals,
    proportion_interval,
    quantile_interval,
    randomisation_p,
)

METHODS = ["percentile", "expanded", "bca", "bootstrap-t", "t"]
rng = np.random.default_rng(20)
SAMPLE = rng.gamma(2.0, 1.0, 60)


@pytest.mark.parametrize(("method", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
def test_bootstrap_intervals_agree_with_scipy_up_to_resampling_noise(method, theirs):
    ours = mean_interval(SAMPLE, method=method, resamples=40_000)
    bootstrap = stats.bootstrap((SAMPLE,), np.mean, method=theirs, n_resamples=40_000, rng=1)
    spread = SAMPLE.std() / len(SAMPLE) ** 0.5
    assert ours.low == pytest.approx(bootstrap.confidence_interval.low, abs=0.06 * spread)
    assert ours.high == pytest.approx(bootstrap.confidence_interval.high, abs=0.06 * spread)


def test_the_t_interval_is_that_of_scipy():
    ours = mean_interval(SAMPLE, method="t")
    low, high = stats.ttest_1samp(SAMPLE, 0).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_the_studentised_bootstrap_follows_its_definition():
    values = SAMPLE[:8]
    draws = np.random.default_rng(0).integers(0, 8, (60_000, 8))
    resampled = values[draws]
    t = (resampled.mean(axis=1) - values.mean()) / (resampled.std(axis=1, ddof=1) / 8**0.5)
    low, high = np.quantile(t, [0.025, 0.975])
    error = values.std(ddof=1) / 8**0.5
    ours = mean_interval(values, method="bootstrap-t", resamples=60_000)
    assert ours.low == pytest.approx(values.mean() - high * error, rel=0.05)
    assert ours.high == pytest.approx(values.mean() - low * error, rel=0.05)


def test_bootstrap_means_have_the_moments_of_multinomial_resampling():
    drawn = bootstrap_means(SAMPLE, resamples=50_000)[:, 0]
    assert drawn.mean() == pytest.approx(SAMPLE.mean(), abs=5 * SAMPLE.std() / (60 * 50_000) ** 0.5)
    assert drawn.std() == pytest.approx(SAMPLE.std() / 60**0.5, rel=0.02)
    assert stats.skew(drawn) == pytest.approx(stats.skew(SAMPLE) / 60**0.5, abs=0.05)


def test_a_resample_of_three_values_takes_each_of_the_27_draws_alike_often():
    drawn = np.rint(bootstrap_means([0.0, 1.0, 10.0], resamples=54_000)[:, 0] * 3).astype(int)
    expected: dict[int, int] = {}
    for triple in itertools.product([0, 1, 10], repeat=3):
        expected[sum(triple)] = expected.get(sum(triple), 0) + 2_000
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == sorted(expected)
    assert stats.chisquare(counts, [expected[v] for v in values.tolist()]).pvalue > 0.001


@pytest.mark.parametrize("method", METHODS)
def test_shifting_and_scaling_values_shifts_and_scales_the_interval(method):
    plain = mean_interval(SAMPLE, method=method, resamples=500)
    moved = mean_interval(3 * SAMPLE - 7, method=method, resamples=500)
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low - 7, 3 * plain.high - 7), rel=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_clusters_of_equal_values_give_the_interval_of_one_value_each(method):
    repeated = mean_interval(SAMPLE.repeat(4), clusters=np.arange(60).repeat(4), method=method, resamples=500)
    single = mean_interval(SAMPLE, method=method, resamples=500)
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high), rel=1e-6)
    assert mean_interval(SAMPLE.repeat(4), method="t").high < repeated.high


def test_columns_do_not_influence_each_other():
    matrix = np.column_stack([SAMPLE, SAMPLE[::-1] ** 2])
    for method in METHODS:
        together = mean_intervals(matrix, method=method, resamples=300)
        assert together[0] == mean_interval(SAMPLE, method=method, resamples=300)


def test_resamples_do_not_depend_on_how_many_columns_share_them():
    values = np.random.default_rng(3).random((9_999, 40))
    wide, narrow = bootstrap_means(values, resamples=150), bootstrap_means(values[:, :3], resamples=150)
    assert np.array_equal(wide[:, :3], narrow)
    p = randomisation_p(values - 0.5, resamples=150)
    assert np.array_equal(p[:3], randomisation_p(values[:, :3] - 0.5, resamples=150))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.sampled_from(["percentile", "expanded"]))
@example([0.48167197858326827] * 3, "percentile")
def test_percentile_intervals_never_leave_the_range_of_the_data(values, method):
    estimate = mean_interval(values, method=method, resamples=200)
    assert min(values) <= estimate.low <= estimate.high <= max(values)


def test_few_events_take_the_exact_interval_by_themselves():
    rare = mean_interval([1.0] * 3 + [0.0] * 97)
    assert rare.method == "Clopper-Pearson"
    assert (rare.low, rare.high) == pytest.approx(stats.binomtest(3, 100).proportion_ci(method="exact"))
    assert mean_interval([0.0] * 50).high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert mean_interval([1.0] * 50 + [0.0] * 50).method.startswith("expanded")


def test_intervals_of_too_little_say_so():
    single = mean_interval([0.3])
    assert (single.low, single.high) == (-np.inf, np.inf)
    assert single.method == "no interval from one observation"
    assert mean_interval([0.3, 0.4], clusters=["a", "a"]).method == "no interval from one cluster"
    for method in METHODS:
        equal = mean_interval([0.3] * 5, method=method, resamples=100)
        assert (equal.low, equal.high) == (equal.value, equal.value)
        assert "degenerate" in equal.method


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one observation"),
        ([1.0, float("nan")], {}, "observation 1 is not finite"),
        ([1.0, 2.0], {"method": "wild"}, "unknown method 'wild'"),
        ([1.0, 2.0], {"level": 1.0}, "level must lie between 0 and 1"),
        ([1.0, 2.0], {"method": "clopper-pearson"}, "values of 0 and 1"),
        ([1.0, 2.0], {"clusters": [1]}, "1 cluster labels for 2 observations"),
    ],
)
def test_wrong_samples_are_refused(values, options, message):
    with pytest.raises(MetricError, match=message):
        mean_interval(values, **options)


def test_quantile_intervals_invert_the_quantile_test_of_scipy():
    for q, n in ((0.5, 40), (0.9, 150), (0.95, 300)):
        values = np.random.default_rng(n).exponential(size=n)
        ours = quantile_interval(values, q)
        theirs = stats.quantile_test(values, p=q).confidence_interval(0.95)
        assert theirs.low <= ours.low  # ours never lies further out than SciPy's, one rank more careful
        assert ours.high <= theirs.high
        assert ours.value == np.quantile(values, q)


@pytest.mark.parametrize("q", [0, 1, -0.1, 99])
def test_quantiles_outside_zero_and_one_are_refused(q):
    with pytest.raises(MetricError, match="between 0 and 1"):
        quantile_interval([1.0], q)


@pytest.mark.parametrize(("events", "n"), [(0, 20), (1, 20), (20, 20), (7, 300)])
def test_proportions_agree_with_scipy(events, n):
    ours, theirs = proportion_interval(events, n), stats.binomtest(events, n).proportion_ci(method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_proportions_of_nothing_and_of_nonsense():
    assert np.isnan(proportion_interval(0, 0).value)
    with pytest.raises(MetricError, match="5 events in 4 trials"):
        proportion_interval(5, 4)
    with pytest.raises(MetricError, match="must be true or false"):
        clustered_proportion_interval([0.5], ["a"])
    with pytest.raises(MetricError, match="1 events for 2 cluster labels"):
        clustered_proportion_interval([1], ["a", "b"])
    assert clustered_proportion_interval([], []).n == 0


def test_a_clustered_proportion_of_single_trials_is_close_to_clopper_pearson():
    events = np.arange(200) % 10 == 0
    clustered, plain = clustered_proportion_interval(events, np.arange(200)), proportion_interval(20, 200)
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high), rel=0.02)


def test_without_any_event_the_clusters_are_the_trials():
    clustered = clustered_proportion_interval(np.zeros(100), np.arange(100) // 10)
    assert clustered.high == pytest.approx(proportion_interval(0, 10).high)
