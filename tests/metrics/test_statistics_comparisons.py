"""Comparisons, corrections and stability against SciPy, exact enumeration and hand-worked cases."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evalkit.metrics import MetricError
from evalkit.metrics.statistics import (
    compare,
    holm,
    mcnemar,
    paired,
    pareto_front,
    pareto_stability,
    randomisation_p,
    rank_stability,
    unpaired,
)

rng = np.random.default_rng(20)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_randomisation_agrees_with_all_sign_flips(differences):
    flips = np.array(list(itertools.product([-1, 1], repeat=len(differences)))) @ np.array(differences)
    exact = (np.abs(flips) >= abs(sum(differences))).mean()
    p = randomisation_p(np.array(differences, dtype=float) / 10, resamples=20_000)[0]
    assert p == pytest.approx(exact, abs=0.02)


def test_the_smallest_p_is_one_in_flips_plus_one():
    assert randomisation_p(np.ones(100), resamples=999)[0] == 1 / 1000
    assert randomisation_p(np.zeros(10), resamples=999)[0] == 1.0


def test_clusters_are_flipped_whole():
    differences, labels = np.ones(40), np.arange(40) // 20
    assert randomisation_p(differences, clusters=labels)[0] == pytest.approx(0.5, abs=0.02)


def test_holm_follows_its_steps():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0
    with pytest.raises(MetricError, match="between 0 and 1"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(np.array(p) * len(p), 1) + 1e-15).all()


def test_mcnemar_is_the_binomial_test_of_the_disagreements():
    first, second = np.array([1] * 8 + [0] * 2 + [1] * 20), np.array([0] * 8 + [1] * 2 + [1] * 20)
    result = mcnemar(first, second)
    assert (result.n, result.only_baseline, result.only_other) == (30, 8, 2)
    assert result.p == pytest.approx(stats.binomtest(2, 10).pvalue)
    assert mcnemar([1, 0], [1, 0]).p == 1.0
    with pytest.raises(MetricError, match="true or false"):
        mcnemar([0.5], [1])
    with pytest.raises(MetricError, match="give the same queries"):
        mcnemar([1, 0], [1])


def test_a_comparison_reports_the_paired_tests_of_scipy():
    base = rng.random(80)
    other = base + rng.normal(0.02, 0.1, 80)
    result = paired(base, other)
    theirs = stats.ttest_rel(other, base)
    assert result.p_t == pytest.approx(theirs.pvalue)
    assert result.p == pytest.approx(theirs.pvalue, abs=0.03)
    assert result.difference == pytest.approx((other - base).mean())
    assert result.effect == pytest.approx((other - base).mean() / (other - base).std(ddof=1))
    assert result.low < result.difference < result.high
    assert result.wins + result.ties + result.losses == result.n == 80


def test_a_comparison_can_say_all_four_things():
    base = rng.random(200)
    noise = rng.normal(0, 0.05, 200)
    assert paired(base, base + 0.1 + noise).verdict == "better"
    assert paired(base, base - 0.1 + noise).verdict == "worse"
    assert paired(base, base + 0.1 + noise, higher_is_better=False).verdict == "worse"
    assert paired(base, base + noise - noise.mean(), margin=0.05).verdict == "equivalent"
    unsure = paired(base, base + noise - noise.mean() + 0.002)
    assert unsure.verdict == "inconclusive"
    assert unsure.more_queries > 0


def test_wins_are_in_the_direction_of_the_metric():
    latency = paired([100.0, 100, 100, 100], [90.0, 90, 100, 110], higher_is_better=False)
    assert (latency.wins, latency.ties, latency.losses) == (2, 1, 1)


def test_equal_systems_are_inconclusive_without_a_margin_and_equivalent_with_one():
    same = paired([0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
    assert (same.verdict, same.p, same.p_t, same.more_queries, same.effect) == ("inconclusive", 1, 1, None, 0)
    assert paired([0.1, 0.5, 0.9], [0.1, 0.5, 0.9], margin=0.01).verdict == "equivalent"


def test_the_queries_that_would_settle_it_settle_it_in_four_of_five_experiments():
    effect = 0.3
    start = 10 + rng.permutation(np.linspace(-1, 1, 30))
    differences = start - start.mean()
    differences = effect + differences / differences.std(ddof=1)
    result = paired(np.zeros(30), differences, level=0.99)
    assert result.verdict == "inconclusive"
    needed = 30 + result.more_queries
    p = randomisation_p(np.random.default_rng(0).normal(effect, 1, (needed, 4000)), resamples=2000)
    assert (p < 0.01).mean() == pytest.approx(0.8, abs=0.03)


def test_more_queries_are_needed_where_more_comparisons_are_made_together():
    mixed = np.tile([0.4, -0.3, 0.1, -0.1], 10)
    alone = compare(np.zeros(40), {"a": mixed})["a"]
    among = compare(np.zeros(40), {"a": mixed, **{f"b{i}": mixed[::-1] * 0.5 for i in range(9)}})["a"]
    assert alone.verdict == among.verdict == "inconclusive"
    assert among.more_queries > alone.more_queries


def test_no_number_of_queries_is_promised_whose_signs_could_not_decide():
    steady = compare(np.zeros(4), {"a": np.array([1.0, 1.0, 1.0, 1.01])})["a"]
    assert steady.verdict == "inconclusive"
    needed = 4 + steady.more_queries
    assert compare(np.zeros(needed), {"a": np.ones(needed)})["a"].verdict == "better"


def test_comparisons_made_together_are_corrected_together():
    base = rng.random(60)
    others = {f"v{i}": base + rng.normal(0.01 * i, 0.1, 60) for i in range(6)}
    results = compare(base, others)
    assert [r.p_adjusted for r in results.values()] == holm([r.p for r in results.values()]).tolist()
    for name, result in results.items():
        assert result.p == paired(base, others[name]).p
        assert (result.verdict in {"better", "worse"}) == (result.p_adjusted < 0.05)
    assert compare(base, {}) == {}


@pytest.mark.parametrize(
    ("other", "options", "message"),
    [
        ([1.0, 2.0], {}, "2 values, the baseline 3"),
        ([1.0, 2.0, float("nan")], {}, "observation 2 is not finite"),
        ([1.0, 2.0, 3.0], {"ids": (["a", "b", "c"], ["a", "c", "b"])}, "other queries than the baseline"),
        ([1.0, 2.0, 3.0], {"margin": 0}, "margin must be above 0"),
    ],
)
def test_unlike_pairs_are_refused(other, options, message):
    with pytest.raises(MetricError, match=message):
        paired([1.0, 2.0, 3.0], other, **options)


def test_unlike_mixes_of_requests_are_refused():
    values = rng.random(100)
    simple, mixed = ["simple"] * 100, ["simple"] * 50 + ["complex"] * 50
    with pytest.raises(MetricError, match="unlike mixes: 0 requests of kind 'complex' against 50"):
        unpaired(values, values, kinds=(simple, mixed))
    skewed = ["simple"] * 90 + ["complex"] * 10
    with pytest.raises(MetricError, match="unlike mixes of simple, complex: 50%, 50% against 90%, 10%"):
        unpaired(values, values, kinds=(mixed, skewed))
    with pytest.raises(MetricError, match="100 and 3 kinds"):
        unpaired(values, values, kinds=(mixed, ["simple"] * 3))
    with pytest.raises(MetricError, match="at least two values"):
        unpaired([1.0], [2.0], kinds=(["a"], ["a"]))


def test_like_mixes_are_compared_by_welch():
    first, second = rng.normal(0, 1, 50), rng.normal(1, 3, 70)
    kinds = (["a", "b"] * 25, ["a", "b"] * 35)
    result = unpaired(first, second, kinds=kinds)
    theirs = stats.ttest_ind(second, first, equal_var=False)
    assert result.p == pytest.approx(theirs.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert unpaired([1.0, 1.0], [1.0, 1.0], kinds=(["a"] * 2, ["a"] * 2)).verdict == "inconclusive"
    assert unpaired(first, first + 9, kinds=(kinds[0], kinds[0]), higher_is_better=False).verdict == "worse"


def test_rank_stability_is_the_share_of_resamples_in_which_a_variant_is_best():
    queries = rng.random(100)
    clear = rank_stability([queries, queries + 0.5 + rng.normal(0, 0.1, 100)])
    assert clear.best == (1,)
    assert clear.shares.tolist() == [0, 1]
    even = rank_stability(rng.random((4, 200)))
    assert even.shares.sum() == pytest.approx(1)
    assert even.shares.max() < 0.95
    assert "best of 4 on the data it was chosen on" in even.warning
    assert rank_stability([queries]).warning == ""
    lower = rank_stability([queries, queries + 0.5], higher_is_better=False)
    assert lower.best == (0,)


def test_equal_variants_share_the_first_place():
    queries = rng.random(50)
    assert rank_stability([queries, queries, queries]).shares.tolist() == pytest.approx([1 / 3] * 3)


def test_the_optimism_of_the_best_of_many_is_near_what_fresh_queries_show():
    optimism, lost = [], []
    for seed in range(60):
        draw = np.random.default_rng(seed).normal(size=(10, 50))  # ten equal variants: their true mean is 0
        optimism.append(rank_stability(draw, resamples=300).optimism)
        lost.append(draw.mean(axis=1).max())
    assert 0.4 * np.mean(lost) < np.mean(optimism) < 1.1 * np.mean(lost)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_the_front_holds_what_nothing_dominates(points):
    expected = [not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points) for x, y in points]
    assert pareto_front(points).tolist() == expected


def test_pareto_stability_follows_the_directions_of_the_objectives():
    quality, latency = rng.normal(0.5, 0.01, (3, 100)), rng.normal(100, 1, (3, 100))
    quality[1] += 0.2
    quality[2] += 0.1
    latency[2] += 50
    objectives = np.stack([quality, latency], axis=1)
    result = pareto_stability(objectives, higher_is_better=[True, False])
    assert 1 in result.best
    assert 2 not in result.best
    assert result.shares[1] == 1
    assert result.shares[2] == 0
    assert set(pareto_stability(objectives, higher_is_better=[True, True]).best) == {1, 2}
    with pytest.raises(MetricError, match="and directions"):
        pareto_stability(objectives, higher_is_better=[True])
    with pytest.raises(MetricError, match=r"give \(variants, queries\)"):
        rank_stability([1.0, 2.0])


def test_random_numbers_follow_the_seed_in_every_process():
    code = (
        "import numpy as np; from evalkit.metrics.statistics import paired, rank_stability\n"
        "x = np.random.default_rng(0).random((3, 777)); "
        "print(paired(x[0], x[1], seed=4), rank_stability(x, seed=4).shares.tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    sample = rng.random(40)
    assert randomisation_p(sample - 0.4, seed=1, resamples=99) != randomisation_p(sample - 0.4, seed=2, resamples=99)


def test_rounding_is_no_difference():
    left, right = np.full(104, 0.3), np.full(104, 0.3) + 0.1 * 3 - 0.3
    assert (left != right).any()
    found = paired(left, right)
    assert (found.verdict, found.difference, found.ties) == ("inconclusive", 0.0, 104)


def test_an_interval_that_ends_where_nothing_differs_ends_at_zero():
    differences = np.zeros(104)
    differences[[3, 50]] = -0.2, -0.1
    found = paired(np.full(104, 0.7), 0.7 + differences)
    assert found.high == 0.0
    assert found.low < 0
