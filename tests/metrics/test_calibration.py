"""Coverage and size are what the package claims, over 20,000 simulated experiments for each figure.

A test rejects only when the 99.9 % interval of the measured share excludes the claim. Some run always, the
others among the slow tests.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats
from simulations import (
    cluster_coverage,
    coverage,
    false_equivalences,
    family_errors,
    rare_cluster_coverage,
    rejections,
)

from evalkit.metrics.statistics import calibration, mcnemar, proportion_interval, quantile_interval, unpaired

EXPERIMENTS = 20_000


def check(count: int, claim: float, tolerance: float = 0.0) -> None:
    """Hold a claim against a count of experiments; `tolerance` is what the claim was rounded to."""
    interval = stats.binomtest(count, EXPERIMENTS).proportion_ci(0.999, method="exact")
    assert interval.low - tolerance <= claim <= interval.high + tolerance, count / EXPERIMENTS


def figures(claims, always):
    return [
        pytest.param(claim, id="-".join(map(str, claim[:3])), marks=[] if always(claim) else pytest.mark.slow)
        for claim in claims
    ]


@pytest.mark.parametrize("claim", figures(calibration.COVERAGE, lambda claim: claim.n == 30))
def test_intervals_of_means_cover_as_often_as_claimed(claim):
    check(coverage(claim.method, claim.population, claim.n, EXPERIMENTS, seed=1), claim.share, 0.0005)


@pytest.mark.parametrize(
    "claim", figures(calibration.CLUSTER_COVERAGE[:-1], lambda claim: claim.method in {"expanded", "t"})
)
def test_intervals_over_clusters_cover_as_often_as_claimed(claim):
    check(cluster_coverage(claim.method, EXPERIMENTS, seed=1), claim.share, 0.0005)


@pytest.mark.slow
def test_intervals_of_rare_clustered_events_cover_as_often_as_claimed():
    check(rare_cluster_coverage(EXPERIMENTS, seed=1), calibration.CLUSTER_COVERAGE[-1].share, 0.0005)


@pytest.mark.parametrize("claim", calibration.SIZE, ids=lambda claim: f"{claim.population}-{claim.n}")
def test_randomisation_rejects_true_hypotheses_as_often_as_claimed(claim):
    check(rejections(claim.population, claim.n, EXPERIMENTS, seed=1), claim.share, 0.0005)


def test_holm_bounds_the_chance_of_any_false_winner_as_claimed():
    claim = calibration.FAMILY_ERROR
    assert claim.share <= 0.05
    check(family_errors(5, claim.n, EXPERIMENTS, seed=1), claim.share, 0.0005)


def test_a_difference_of_just_the_margin_is_called_equivalent_as_rarely_as_claimed():
    claim = calibration.FALSE_EQUIVALENCE
    check(false_equivalences(claim.n, EXPERIMENTS, seed=1), claim.share, 0.0005)


@pytest.mark.parametrize(("n", "share"), [(20, 0.1), (100, 0.02), (300, 0.5)])
def test_clopper_pearson_covers_as_often_as_the_binomial_says(n, share):
    intervals = [proportion_interval(events, n) for events in range(n + 1)]
    covers = np.array([interval.low <= share <= interval.high for interval in intervals])
    claim = float(stats.binom.pmf(np.arange(n + 1), n, share) @ covers)
    assert claim >= 0.95
    check(int(covers[np.random.default_rng(1).binomial(n, share, EXPERIMENTS)].sum()), claim)


@pytest.mark.parametrize(("q", "n"), [(0.5, 20), (0.9, 50), (0.95, 200), (0.99, 100), (0.99, 1000)])
def test_quantile_intervals_cover_as_often_as_the_binomial_says(q, n):
    ranks = quantile_interval(np.arange(1.0, n + 1), q)  # of these samples, each value is its rank
    low, high = max(ranks.low, 0), min(ranks.high, n + 1)
    claim = float(stats.binom.cdf(high - 1, n, q) - stats.binom.cdf(low - 1, n, q))
    assert claim >= 0.95
    truth, rng, covered = stats.lognorm.ppf(q, 1), np.random.default_rng(1), 0
    for _ in range(20):
        below = (rng.lognormal(0, 1, (EXPERIMENTS // 20, n)) <= truth).sum(axis=1)
        covered += int(((below >= low) & (below < high)).sum())
    check(covered, claim)


@pytest.mark.parametrize("n", [20, 80])
def test_mcnemar_rejects_true_hypotheses_as_often_as_the_binomial_says(n):
    @cache
    def rejects(only_first: int, only_second: int) -> bool:
        first = np.repeat([1, 0, 1], [only_first, only_second, 1])
        second = np.repeat([0, 1, 1], [only_first, only_second, 1])
        return mcnemar(first, second).p < 0.05

    split = np.arange(n + 1)
    claim = sum(
        stats.binom.pmf(apart, n, 0.3) * stats.binom.pmf(k, apart, 0.5)
        for apart in range(n + 1)
        for k in split[: apart + 1].tolist()
        if rejects(k, apart - k)
    )
    assert claim <= 0.05
    apart = np.random.default_rng(1).binomial(n, 0.3, EXPERIMENTS)
    first = np.random.default_rng(2).binomial(apart, 0.5)
    check(sum(map(rejects, first.tolist(), (apart - first).tolist())), float(claim))


@pytest.mark.slow
def test_welch_rejects_true_hypotheses_at_its_level():
    rng, kinds = np.random.default_rng(1), (["a"] * 20, ["a"] * 40)
    rejected = sum(
        unpaired(rng.normal(0, 1, 20), rng.normal(0, 3, 40), kinds=kinds).p < 0.05 for _ in range(EXPERIMENTS)
    )
    check(rejected, 0.05)
