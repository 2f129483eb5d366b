"""Intervals hold what they should although requests wait for one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics.statistics import mean_interval, proportion_interval, quantile_interval
from evalkit.serving.results.batches import BATCHES, batches, means, quantile, share


def queue(rng: np.random.Generator, size: int, load: float) -> np.ndarray:
    """Seconds that requests of a queue with one server take, in order, from its steady state (M/M/1)."""
    work, gaps = rng.exponential(1, size), rng.exponential(1 / load, size)
    wait = rng.exponential(1 / (1 - load)) if rng.random() < load else 0.0
    took = np.empty(size)
    for i in range(size):
        took[i] = wait + work[i]
        wait = max(0.0, took[i] - gaps[i])
    return took


def test_intervals_of_a_queues_latency_hold_the_truth_far_more_often_than_independent_ones():
    """Sojourn times of M/M/1 are exponential with mean 1 / (1 - load)."""
    load, runs = 0.5, 60
    truth = -math.log(0.05) / (1 - load)
    held = {"p95": 0, "naive p95": 0, "mean": 0, "naive mean": 0}
    for run in range(runs):
        took = queue(np.random.default_rng([3, run]), 2000, load)
        found = {"p95": quantile(took, 0.95), "naive p95": quantile_interval(took, 0.95)}
        found |= {"mean": means(took[:, None])[0], "naive mean": mean_interval(took, method="t")}
        for name, e in found.items():
            held[name] += e.low <= (truth if "p95" in name else 1 / (1 - load)) <= e.high
    assert held["p95"] >= 0.85 * runs > 0.75 * runs >= held["naive p95"]
    assert held["mean"] >= 0.85 * runs > 0.75 * runs >= held["naive mean"]


def test_for_independent_values_the_interval_is_about_that_of_the_order_statistics():
    ratios = []
    for run in range(20):
        values = np.random.default_rng([5, run]).exponential(1, 2000)
        mine, theirs = quantile(values, 0.95), quantile_interval(values, 0.95)
        assert mine.value == theirs.value
        ratios.append((mine.high - mine.low) / (theirs.high - theirs.low))
    assert 0.95 <= np.median(ratios) <= 1.6


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_its_interval_and_few_values_leave_it_open(values, q):
    e = quantile(values, q)
    assert 0 <= e.low <= e.value <= e.high
    assert e.n == len(values)
    if len(values) < 40 and q > 0.9:
        assert e.high == math.inf


@given(st.integers(0, 500))
def test_batches_are_runs_of_neighbours_of_about_one_size(size):
    found = batches(size)
    assert (np.diff(found) >= 0).all()
    assert len(set(found.tolist())) == min(size, BATCHES)
    if size:
        sizes = np.bincount(found)
        assert sizes.max() - sizes.min() <= 1


def test_an_outage_of_one_stretch_widens_the_interval_of_a_share():
    spread = np.arange(1000) % 10 == 0
    together = np.arange(1000) < 100
    apart, bunched = share(spread), share(together)
    assert apart.value == bunched.value == 0.1
    assert bunched.high - bunched.low > 3 * (apart.high - apart.low)


@pytest.mark.parametrize("happened", [np.zeros(5000, dtype=bool), np.ones(5000, dtype=bool)])
def test_what_happened_to_all_or_none_has_the_exact_interval(happened):
    e = proportion_interval(int(happened.sum()), 5000)
    assert share(happened) == e


def test_a_column_that_is_not_known_leaves_the_others_alone():
    known, unknown = means(np.column_stack([np.arange(50.0), np.full(50, np.nan)]))
    assert known.value == 24.5
    assert known.low < 24.5 < known.high
    assert math.isnan(unknown.value)
    assert unknown.n == 0
    assert math.isnan(quantile([], 0.5).value)
