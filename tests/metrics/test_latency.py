"""Metrics of durations, streams and summaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics import HISTOGRAMS, MetricError, Summary, Timeline, histogram, parse, summarise

samples = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(samples)
def test_statistics_are_those_of_numpy(values):
    expected = {"Count": len(values), "Mean": np.mean(values), "Min": np.min(values), "Max": np.max(values)}
    expected |= {f"P{p}": np.percentile(values, p) for p in (50, 90, 95, 99)}
    for name, value in expected.items():
        assert parse(name).of(values).value == pytest.approx(value, rel=1e-12, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(samples)
def test_an_interval_holds_its_value_and_no_negative_time(values):
    for name in ("Mean", "P50", "P90", "P95", "P99"):
        estimate = parse(name).of(values)
        assert estimate.low <= estimate.value * (1 + 1e-12)
        assert estimate.value <= estimate.high * (1 + 1e-12)
        assert estimate.n == len(values)
    for name in ("P50", "P90", "P95", "P99"):
        assert parse(name).of(values).low >= 0


def test_the_spread_is_that_of_a_sample():
    values = np.random.default_rng(0).gamma(2, 50, 400)
    estimate = parse("Std").of(values)
    assert estimate.value == pytest.approx(np.std(values, ddof=1))
    assert estimate.low < 50 * 2**0.5 < estimate.high
    assert np.isnan(parse("Std").of([3.0]).value)


def test_p99_of_few_samples_says_so_and_is_open_above():
    few, many = parse("P99").of(np.arange(300.0)), parse("P99").of(np.arange(1000.0))
    assert few.high == np.inf
    assert "fewer than 1,000: p99 is uncertain" in few.method
    assert np.isfinite(many.high)
    assert "uncertain" not in many.method
    assert "uncertain" in parse("P99").of(np.arange(999.0)).method


@pytest.mark.parametrize("wrong", [[], [1.0, -0.5], [float("nan")], [float("inf")]])
def test_wrong_samples_are_refused(wrong):
    for name in ("Mean", "P95(stage='embed')", "Count"):
        with pytest.raises(MetricError, match=r"no samples|is .* ms"):
            parse(name).of(wrong)


STREAM = [
    Timeline(requested=0, called=250, tokens=(350, 370, 390, 410), done=420, text=1),
    Timeline(requested=1000, called=1100, tokens=(1300,), done=1300),
    Timeline(requested=1500, called=1600, tokens=(), done=2000),
]


def test_the_first_token_counts_from_the_request_or_from_the_call():
    assert parse("FirstToken").of(STREAM).value == np.median([350, 300])
    assert parse("FirstToken(since='call')").of(STREAM).value == np.median([100, 200])
    assert parse("FirstText").of(STREAM).value == np.median([370, 300])
    assert parse("FirstText(since='call', q=0.25)").of(STREAM).value == np.quantile([120, 200], 0.25)


def test_inter_token_latency_is_one_number_for_each_request():
    assert parse("InterToken").of(STREAM).value == 20
    assert parse("InterToken").of(STREAM).n == 1


def test_throughput_divides_by_the_time_from_first_request_to_last_completion():
    assert parse("Throughput").of(STREAM).value == 3 / 2.0
    low, high = parse("Throughput").of(STREAM).low, parse("Throughput").of(STREAM).high
    assert low == pytest.approx(0.6187 / 2, abs=1e-4)  # Garwood's limits of 3 events
    assert high == pytest.approx(8.7673 / 2, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("Goodput", 3),
        ("Goodput(total=420)", 2),
        ("Goodput(total=300)", 1),
        ("Goodput(first_token=300)", 1),
        ("Goodput(first_token=350, inter_token=20)", 2),
        ("Goodput(inter_token=19)", 1),
        ("Goodput(total=1)", 0),
    ],
)
def test_goodput_counts_requests_within_every_limit(name, good):
    assert parse(name).of(STREAM).value == good / 2.0


def test_timelines_that_cannot_be_are_refused():
    with pytest.raises(MetricError, match="times run backwards"):
        Timeline(requested=10, called=5, tokens=(), done=20)
    with pytest.raises(MetricError, match="times run backwards"):
        Timeline(requested=0, called=5, tokens=(9, 8), done=20)
    with pytest.raises(MetricError, match="first text is token 2 of 1"):
        Timeline(requested=0, called=5, tokens=(9,), done=20, text=2)
    with pytest.raises(MetricError, match="no request streamed"):
        parse("FirstToken").of([STREAM[2]])
    with pytest.raises(MetricError, match="no requests"):
        parse("Throughput").of([])


@given(samples)
def test_a_summary_of_real_samples_is_never_refused(values):
    summary = summarise(values)
    low, high = summary.mean_bounds()
    slack = 1e-9 * max(values)
    assert low - slack <= summary.mean <= high + slack


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=12), st.floats(1.01, 3))
def test_a_mean_beyond_what_the_percentiles_allow_is_refused(values, factor):
    summary = summarise(values)
    _, high = summary.mean_bounds()
    wrong = {"percentiles": summary.percentiles, "minimum": summary.minimum, "maximum": summary.maximum}
    with pytest.raises(MetricError, match="allow a mean from"):
        Summary(mean=high * factor + 1, count=len(values), **wrong)


def test_a_summary_that_contradicts_itself_is_refused():
    with pytest.raises(MetricError, match=r"its percentiles allow a mean from 250 to inf ms, not 206"):
        Summary(mean=206, percentiles={50: 500})
    with pytest.raises(MetricError, match=r"its percentiles allow a mean from 0.05 to 50.95 ms, not 206"):
        Summary(mean=206, percentiles={95: 1}, maximum=1000, minimum=0)
    with pytest.raises(MetricError, match="fall"):
        Summary(mean=30, percentiles={50: 38, 95: 12})
    with pytest.raises(MetricError, match="allow a std up to"):
        Summary(mean=50, minimum=0, maximum=100, std=51)
    with pytest.raises(MetricError, match="must lie between 0 and 100"):
        Summary(mean=50, percentiles={100: 60})


def test_a_tail_that_the_mean_needs_is_told():
    cached = Summary(mean=206, percentiles={95: 1})
    assert cached.tail_mean() == pytest.approx(4101)
    with pytest.raises(MetricError, match="contradicts itself"):
        Summary(mean=206, percentiles={95: 1}, maximum=4000)


def test_histograms_hold_each_sample_in_the_bucket_up_to_its_edge():
    counted = histogram([10, 10.5, 25, 1000], "embedding_latency_ms")
    assert counted.edges == (10, 25, 50, 100, 200)
    assert counted.cumulative.tolist() == [1, 3, 3, 3, 3, 4]
    assert counted.counts.tolist() == [1, 2, 0, 0, 0, 1]
    assert counted.total == 1045.5
    assert histogram([], (1.0,)).cumulative.tolist() == [0, 0]


def test_histogram_edges_are_those_of_the_roadmap():
    assert HISTOGRAMS["vector_search_latency_ms"] == (50, 100, 200, 500, 1000)
    assert HISTOGRAMS["llm_latency_ms"] == (100, 200, 500, 1000, 2000)
    assert HISTOGRAMS["total_rag_latency_ms"] == (200, 500, 1000, 2000)
    assert HISTOGRAMS["cache_hit_latency_ms"] == (50, 100, 200, 500)
    assert HISTOGRAMS["cache_miss_latency_ms"] == (500, 1000, 2000)


def test_wrong_histograms_are_refused():
    with pytest.raises(MetricError, match="no histogram 'latency'"):
        histogram([1], "latency")
    with pytest.raises(MetricError, match="must rise"):
        histogram([1], (5.0, 5.0))
    with pytest.raises(MetricError, match="not negative"):
        histogram([-1], (5.0,))
