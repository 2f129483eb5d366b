"""Shares of caches with their denominators, and costs per query."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics import ALL, Lookups, MetricError, Usage, describe, parse, precision_hit_rate_curve

# ten requests: 6 hits (4 right, 2 wrong), of the misses 1 could have hit; one wrong hit had a right entry
HIT = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
RIGHT = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
SHOULD = [1, 1, 1, 1, 1, 0, 1, 0, 0, 0]
LOOKUPS = Lookups(np.array(HIT), np.array(RIGHT), np.array(SHOULD))


@pytest.mark.parametrize(
    ("name", "events", "trials"),
    [
        ("HitRate", 6, 10),
        ("CachePrecision", 4, 6),
        ("WrongShare", 2, 6),
        ("FalseHitRate", 1, 4),
        ("ServedWrong", 2, 10),
        ("ValidHitRate", 4, 10),
        ("CacheRecall", 4, 6),
    ],
)
def test_each_share_divides_by_the_denominator_it_prints(name, events, trials):
    metric = parse(name)
    estimate = metric.of(LOOKUPS)
    assert estimate.value == events / trials
    assert estimate.n == trials
    assert metric.definition.denominator in estimate.method
    assert f"denominator: {metric.definition.denominator}" in describe(name)
    assert estimate.low < estimate.value < estimate.high


def test_shares_of_nothing_are_undefined_and_say_so():
    nothing = Lookups(np.zeros(3), np.zeros(3))
    estimate = parse("CachePrecision").of(nothing)
    assert np.isnan(estimate.value)
    assert (estimate.low, estimate.high, estimate.n) == (0, 1, 0)
    assert "undefined" in estimate.method


def test_requests_of_one_entry_widen_the_interval():
    hits = np.repeat([1, 0, 1, 0, 1, 1, 0, 1], 25)
    alone = parse("HitRate").of(Lookups(hits, hits))
    clustered = parse("HitRate").of(Lookups(hits, hits, clusters=np.repeat(np.arange(8), 25)))
    assert clustered.high - clustered.low > 3 * (alone.high - alone.low)
    assert clustered.value == alone.value


def test_wrong_lookups_are_refused():
    with pytest.raises(MetricError, match="right has shape"):
        Lookups(np.ones(2), np.ones(3))
    with pytest.raises(MetricError, match="must be true or false"):
        Lookups(np.array([0.5]), np.ones(1))
    with pytest.raises(MetricError, match="a right hit on a request that should miss"):
        Lookups(np.ones(1), np.ones(1), np.zeros(1))
    with pytest.raises(MetricError, match="needs should_hit"):
        parse("FalseHitRate").of(Lookups(np.ones(1), np.ones(1)))


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=30))
def test_the_curve_agrees_with_a_count_at_every_threshold(requests):
    scores, right = (np.array(column) for column in zip(*requests, strict=True))
    curve = precision_hit_rate_curve(scores, right)
    area, before = 0.0, 0.0
    for threshold, hit_rate, precision in zip(curve.thresholds, curve.hit_rate, curve.precision, strict=True):
        hits = scores >= threshold
        assert hit_rate == pytest.approx(hits.mean())
        assert precision == pytest.approx(right[hits].mean())
        area, before = area + precision * (hit_rate - before), hit_rate
    assert curve.thresholds.tolist() == sorted(set(scores.tolist()), reverse=True)
    assert curve.area == pytest.approx(area)


def test_the_curve_leaves_out_requests_that_met_an_empty_cache_and_keeps_them_in_the_denominator():
    curve = precision_hit_rate_curve([-np.inf, 0.9], [False, True])
    assert curve.hit_rate.tolist() == [0.5]
    assert curve.area == 0.5
    with pytest.raises(MetricError, match="score 0 is NaN"):
        precision_hit_rate_curve([np.nan], [True])
    with pytest.raises(MetricError, match="0 scores"):
        precision_hit_rate_curve([], [])


USAGE = Usage(
    queries=4,
    query=np.array([0, 0, 1, 3]),
    model=["small", "large", "large", "large"],
    stage=["route", "generate", "generate", "generate"],
    tokens={"input": [10, 100, 200, 300], "output": [1, 20, 30, 40]},
    dollars=np.array([0.001, 0.02, 0.03, 0.04]),
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Tokens", 701 / 4),
        ("Tokens(kind='output')", 91 / 4),
        ("Tokens(model='small', kind='input')", 10 / 4),
        ("DollarsPerQuery", 0.091 / 4),
        ("DollarsPer1000", 91 / 4),
        ("DollarsPer1000(stage='route')", 1 / 4),
        ("DollarsPerQuery(model='large')", 0.09 / 4),
        ("DollarsPerQuery(model='absent')", 0),
    ],
)
def test_costs_are_means_over_all_queries_served(name, value):
    estimate = parse(name).of(USAGE)
    assert estimate.value == pytest.approx(value)
    assert estimate.n == 4


def test_a_query_without_a_call_costs_nothing_and_stays_in_the_mean():
    assert parse("DollarsPerQuery").per_query(USAGE).tolist() == pytest.approx([0.021, 0.03, 0, 0.04])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 0}, "needs at least one"),
        ({"query": np.array([0, 0, 1, 4])}, "outside 0 to 3"),
        ({"dollars": np.array([0.1, 0.1, 0.1, -1])}, "dollars must be"),
        ({"tokens": {"input": [1, 2, 3]}}, "input must be"),
        ({"model": ["small"]}, "1 models and 4 stages"),
    ],
)
def test_wrong_usage_is_refused(change, message):
    fields = {name: getattr(USAGE, name) for name in ("queries", "query", "model", "stage", "tokens", "dollars")}
    with pytest.raises(MetricError, match=message):
        Usage(**(fields | change))


def test_unknown_kinds_of_tokens_are_refused():
    with pytest.raises(MetricError, match="there are input, output"):
        parse("Tokens(kind='thought')").of(USAGE)


def test_every_cache_and_cost_metric_is_tested_here():
    names = {cls.__name__ for cls in ALL if cls.needs in {"caching", "cost"}}
    assert names == {
        *("HitRate", "CachePrecision", "WrongShare", "FalseHitRate", "ServedWrong", "ValidHitRate", "CacheRecall"),
        *("Tokens", "DollarsPerQuery", "DollarsPer1000"),
    }
