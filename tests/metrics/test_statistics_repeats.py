"""Repeated measurements: the interval of the mean holds both spreads, noise is pooled, failures bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evalkit.metrics import MetricError
from evalkit.metrics.statistics import filled_mean, mean_interval, repeat_noise, repeated_mean

tables = arrays(float, st.tuples(st.integers(2, 8), st.integers(2, 4)), elements=st.floats(0, 1, width=16))


@given(tables)
def test_noise_is_the_root_of_the_mean_within_variance(values):
    by_hand = math.sqrt(np.mean([np.var(row, ddof=1) for row in values]))
    found = repeat_noise(values)
    assert found.value == pytest.approx(by_hand, abs=1e-12)
    assert found.low <= found.value <= found.high


@given(tables)
def test_the_mean_is_that_of_the_items_means(values):
    found = repeated_mean(values)
    assert found == mean_interval(values.mean(axis=1))


@given(tables, st.data())
def test_failed_repeats_are_bounded_by_the_ends_of_the_scale(values, data):
    failed = data.draw(arrays(bool, values.shape))
    known = np.where(failed, np.nan, values)
    worst, best = (filled_mean(known, failed, end).value for end in (0.0, 1.0))
    truth = repeated_mean(values).value
    assert worst - 1e-9 <= truth <= best + 1e-9


def test_the_interval_holds_the_judges_noise_and_the_queries_spread():
    rng, items, repeats = np.random.default_rng(3), 40, 2
    covered = 0
    for _ in range(300):
        truth = 0.5 + 0.1 * rng.standard_normal(items)
        measured = truth[:, None] + 0.3 * rng.standard_normal((items, repeats))
        found = repeated_mean(measured)
        covered += found.low <= 0.5 <= found.high
    assert 0.91 < covered / 300 < 0.985


def test_noise_is_found_again_and_its_interval_covers():
    rng, covered, found = np.random.default_rng(5), 0, []
    for _ in range(300):
        measured = rng.random((60, 1)) + 0.2 * rng.standard_normal((60, 3))
        one = repeat_noise(measured)
        found.append(one.value)
        covered += one.low <= 0.2 <= one.high
    assert np.mean(found) == pytest.approx(0.2, abs=0.003)
    assert covered / 300 > 0.9


def test_what_was_measured_once_says_nothing_of_noise():
    found = repeat_noise([[1.0, np.nan], [0.0, np.nan]])
    assert math.isnan(found.value)
    assert (found.low, found.high, found.n) == (0, math.inf, 0)


def test_items_that_never_differed_do_not_prove_that_none_can():
    found = repeat_noise(np.ones((8, 2)), scale=2.0)
    assert found.value == found.low == 0
    assert found.high == pytest.approx(2 * math.sqrt(0.5 * 0.3694), rel=1e-3)


def test_an_item_without_any_value_is_left_out_and_counted_so():
    found = repeated_mean([[1.0, 0.0], [np.nan, np.nan], [np.nan, 1.0]])
    assert (found.value, found.n) == (0.75, 2)
    assert math.isnan(repeated_mean([[np.nan]]).value)


def test_wrong_shapes_are_one_line():
    with pytest.raises(MetricError, match="items by repeats"):
        repeated_mean([1.0, 2.0])
    with pytest.raises(MetricError, match="give one for each"):
        filled_mean([[1.0]], [[True, False]], 0.0)
