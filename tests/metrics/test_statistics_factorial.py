"""Effects of a full factorial design: exact algebra, least squares, laws, and a size that holds."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from evalkit.metrics import MetricError
from evalkit.metrics.statistics import holm
from evalkit.metrics.statistics.factorial import (
    Cells,
    cell_means,
    cell_quantiles,
    combine,
    contrasts,
    effects,
    promise,
    standard_order,
)

ABC = ("a", "b", "c")


def signs(factors: tuple[str, ...]) -> np.ndarray:
    """The design of +1 and -1: a row a cell, a column a term, worked out from names."""
    cells = standard_order(factors)
    return np.array([[math.prod(1 if f in cell else -1 for f in term) for term in cells] for cell in cells])


def exactly(value: object, factors: tuple[str, ...] = ABC) -> Cells:
    """Cells whose every resample is what was measured."""
    values = np.asarray(value, dtype=np.float64)
    return Cells(factors, values, np.repeat(values[None], 50, axis=0), 100, 20)


def by_term(cells: Cells) -> dict[tuple[str, ...], float]:
    return {effect.term: effect.estimate.value for effect in effects(cells)}


def noisy(n: int, cells: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, 100.0, (n, 1)) + rng.gamma(2.0, 30.0, (n, cells))


def test_cells_and_terms_stand_in_standard_order():
    assert standard_order(ABC) == (
        (), ("a",), ("b",), ("a", "b"), ("c",), ("a", "c"), ("b", "c"), ("a", "b", "c")
    )  # fmt: skip
    assert exactly(np.arange(8)).of(("c", "a")) == 5


def test_the_pilot_plant_of_the_textbook_comes_out_as_printed():
    """Box, Hunter and Hunter (2005), table 5.2: temperature, concentration, catalyst on yield."""
    found = by_term(exactly([60, 72, 54, 68, 52, 83, 45, 80], ("T", "C", "K")))
    assert found == {
        ("T",): 23.0, ("C",): -5.0, ("T", "C"): 1.5, ("K",): 1.5, ("T", "K"): 10.0, ("C", "K"): 0.0,
        ("T", "C", "K"): 0.5,
    }  # fmt: skip


def test_switches_that_add_up_have_no_interactions_and_keep_their_promise():
    worth = {"a": -220.0, "b": -35.5, "c": 12.25}
    cells = exactly([850 + sum(worth[f] for f in cell) for cell in standard_order(ABC)])
    for term, value in by_term(cells).items():
        assert value == (worth[term[0]] if len(term) == 1 else 0)
    found = promise(cells)
    assert found.promised.value == found.measured.value == 850 + sum(worth.values())
    assert (found.difference.value, found.p) == (0, 1)
    assert promise(cells, "product").difference.value != 0


def test_switches_that_multiply_keep_the_compounded_promise_and_not_the_sum():
    shares = {"a": 0.6, "b": 0.8, "c": 0.3}
    cells = exactly([4.0 * math.prod(shares[f] for f in cell) for cell in standard_order(ABC)])
    assert promise(cells, "product").promised.value == pytest.approx(4 * 0.144)
    assert promise(cells, "product").difference.value == 0
    total = promise(cells)
    assert total.promised.value == pytest.approx(4 * (0.6 + 0.8 + 0.3 - 2))  # below zero: more is saved than there is
    assert total.difference.value == pytest.approx(4 * (0.144 + 0.3))
    base = 4.0 / 4
    assert by_term(cells)[("a",)] == pytest.approx(-0.4 * base * 1.8 * 1.3)
    assert by_term(cells)[("a", "b")] == pytest.approx(0.4 * 0.2 * 4 * 1.3 / 4)
    assert by_term(cells)[("a", "b", "c")] == pytest.approx(-0.4 * 0.2 * 0.7 * 4 / 4)


def test_the_gap_to_the_sum_is_all_interactions_coded_by_nothing_and_one():
    values = np.array([9.0, 4.0, 7.0, 3.0, 8.0, 5.0, 1.0, 2.5])
    coded = 0.0
    for i in (0b011, 0b101, 0b110, 0b111):
        inside = [c for c in range(8) if c & ~i == 0]
        coded += sum((-1) ** (i.bit_count() - c.bit_count()) * values[c] for c in inside)
    assert promise(exactly(values)).difference.value == pytest.approx(coded)


def test_a_ratio_of_nothing_promises_nothing():
    found = promise(exactly([0, 1, 2, 3], ("a", "b")), "product")
    assert math.isnan(found.promised.value)
    assert math.isnan(found.difference.value)


@given(st.integers(1, 4), st.integers(0, 1000))
def test_effects_are_twice_the_coefficients_of_least_squares(k, seed):
    factors = tuple("abcd"[:k])
    n = 12
    values = noisy(n, 2**k, seed)
    design = np.repeat(signs(factors), n, axis=0)
    fitted = np.linalg.lstsq(design, values.T.ravel(), rcond=None)[0]
    assert contrasts(k) @ values.mean(axis=0) == pytest.approx(2 * fitted[1:])


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8), st.permutations(range(3)))
def test_renaming_and_reordering_factors_changes_no_effect(values, order):
    base = by_term(exactly(values))
    renamed = tuple(ABC[i] for i in order)
    moved = exactly([values[exactly(values).of(cell)] for cell in standard_order(renamed)], renamed)
    found = {frozenset(term): value for term, value in by_term(moved).items()}
    assert found == {frozenset(t): pytest.approx(v, abs=1e-9 * max(map(abs, values))) for t, v in base.items()}


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8), st.sampled_from(range(3)))
def test_swapping_on_and_off_turns_the_sign_of_every_term_with_the_factor(values, i):
    swapped = exactly([values[cell ^ (1 << i)] for cell in range(8)])
    close = 1e-9 * max(map(abs, values))
    for term, value in by_term(exactly(values)).items():
        assert by_term(swapped)[term] == pytest.approx(-value if ABC[i] in term else value, abs=close)


@given(st.integers(0, 50), st.integers(1, 30), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
@settings(max_examples=40)
def test_a_resampled_quantile_is_that_of_the_values_drawn(seed, groups, q):
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, groups, 60)
    values = np.round(noisy(60, 2, seed))
    found = cell_quantiles(values, q, ("a",), clusters=clusters, seed=seed, resamples=20)
    present = np.unique(clusters)
    shares = np.column_stack([clusters == g for g in present]).astype(float)
    at = cell_means(np.column_stack([shares[:, 0], shares[:, 0]]), ("a",), clusters=clusters, seed=seed, resamples=20)
    drawn = np.random.default_rng([seed, present.size]).integers(0, present.size, (20, present.size))
    for row in range(20):
        rows = np.concatenate([np.flatnonzero(clusters == present[g]) for g in drawn[row]])
        assert found.drawn[row] == pytest.approx(np.quantile(values[rows], q, axis=0))
        assert at.drawn[row, 0] == pytest.approx(shares[rows, 0].mean())  # means draw the same requests
    assert found.value == pytest.approx(np.quantile(values, q, axis=0))


def test_what_all_cells_share_cancels_out_of_the_intervals():
    rng = np.random.default_rng(3)
    common = rng.gamma(1.0, 1000.0, (400, 1))
    values = common + np.array([0.0, -50.0, 20.0, -30.0]) + rng.normal(0, 1, (400, 4))
    found = {e.term: e.estimate for e in effects(cell_means(values, ("a", "b"), resamples=1000))}
    assert found["a",].high - found["a",].low < 1
    assert found["a",].low < -50 < found["a",].high
    assert found["b",].low < 20 < found["b",].high
    assert found["a", "b"].low < 0 < found["a", "b"].high


def test_p_values_are_corrected_over_the_terms_and_agree_with_the_intervals():
    values = noisy(200, 8) + np.array([0, -9, 0, 5, 0, 0, 3, 0.0])
    for level in (0.9, 0.95):
        found = effects(cell_means(values, ABC), level=level)
        assert [e.p_adjusted for e in found] == list(holm([e.p for e in found]))
        for e in found:
            if abs(e.p - (1 - level)) > 0.005:
                assert (e.p < 1 - level) == (not e.estimate.low <= 0 <= e.estimate.high)
    assert len({e.p for e in found}) > 3


def test_clusters_that_move_together_widen_the_intervals():
    clusters = np.repeat(np.arange(20), 30)
    shift = np.random.default_rng(1).normal(0, 10, 20)[clusters]
    values = np.column_stack([np.zeros(600), shift])
    wide, narrow = (effects(cell_means(values, ("a",), clusters=c))[0].estimate for c in (clusters, None))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


@pytest.mark.parametrize("quantile", [False, True])
def test_no_effect_is_found_in_about_one_of_twenty_designs_without_one(quantile):
    tries, found = 400, 0
    clusters = np.repeat(np.arange(20), 10)
    for seed in range(tries):
        values = noisy(200, 2, seed)
        if quantile:
            cells = cell_quantiles(values, 0.5, ("a",), clusters=clusters, seed=seed, resamples=500)
        else:
            cells = cell_means(values, ("a",), clusters=clusters, seed=seed, resamples=500)
        found += effects(cells)[0].p < 0.05
    low, high = binom.ppf([0.0005, 0.9995], tries, 0.05)
    assert found <= high
    assert quantile or found >= low  # medians of few clusters err on the safe side


def test_one_cluster_bounds_nothing_and_the_same_seed_says_the_same():
    values = noisy(10, 2)
    alone = cell_means(values, ("a",), clusters=np.zeros(10))
    assert math.isinf(effects(alone)[0].estimate.high)
    assert effects(alone)[0].p == 1
    assert effects(cell_means(values, ("a",), seed=4)) == effects(cell_means(values, ("a",), seed=4))
    assert effects(cell_means(values, ("a",), seed=4)) != effects(cell_means(values, ("a",), seed=5))
    assert combine(alone, math.nan, alone.drawn[:, 0])[1] == 1


def test_what_is_no_design_is_refused():
    for factors in ((), ("a", "a")):
        with pytest.raises(MetricError, match="at least one, each once"):
            standard_order(factors)
    with pytest.raises(MetricError, match="3 columns for 2 factors; give 4"):
        cell_means(noisy(5, 3), ("a", "b"))
    with pytest.raises(MetricError, match="not finite"):
        cell_quantiles([[1.0, math.nan]], 0.5, ("a",))
    with pytest.raises(MetricError, match="between 0 and 1"):
        cell_quantiles(noisy(5, 2), 1.5, ("a",))
    for cells in (cell_means, lambda v, f, clusters: cell_quantiles(v, 0.5, f, clusters=clusters)):
        with pytest.raises(MetricError, match="4 cluster labels for 5"):
            cells(noisy(5, 2), ("a",), clusters=np.arange(4))


def test_an_unknown_way_to_promise_is_refused():
    with pytest.raises(MetricError, match=r"^factorial: how is 'prod'; give 'sum' or 'product'$"):
        promise(exactly(np.arange(8)), "prod")


@pytest.mark.parametrize("level", [2, 1.0, 0.0, -0.5, math.nan])
def test_a_level_that_is_none_is_refused_in_a_line(level):
    for of in (effects, promise):
        with pytest.raises(MetricError, match=rf"^factorial: level is {level}; it is between 0 and 1$"):
            of(exactly(np.arange(8)), level=level)


@pytest.mark.parametrize("cells", [cell_means, lambda v, f, **more: cell_quantiles(v, 0.5, f, **more)])
def test_no_resamples_and_no_seed_are_refused_in_a_line(cells):
    with pytest.raises(MetricError, match=r"^factorial: 0 resamples; give at least one$"):
        cells(noisy(5, 2), ("a",), resamples=0)
    with pytest.raises(MetricError, match=r"^factorial: seed is -1; give a whole number, 0 or more$"):
        cells(noisy(5, 2), ("a",), seed=-1)


def test_every_order_of_two_factors_gives_one_table():
    values = noisy(50, 4)
    seen = set()
    for order in permutations(("a", "b")):
        base = exactly(values.mean(axis=0), ("a", "b"))
        columns = [base.of(cell) for cell in standard_order(order)]
        found = {frozenset(e.term): round(e.estimate.low, 6) for e in effects(cell_means(values[:, columns], order))}
        seen.add(tuple(sorted((tuple(sorted(t)), low) for t, low in found.items())))
    assert len(seen) == 1
