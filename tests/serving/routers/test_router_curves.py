"""A curve is what brute force over thresholds gives, and chance at the same cost is an exact expectation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics.statistics import bootstrap_means
from evalkit.serving.routers.curves import Curve, Stakes


def stakes(seed, n):
    rng = np.random.default_rng(seed)
    right = rng.random((2, n)) < [[0.5], [0.8]]
    right[:, 0] = False, True  # so that there is a gap
    return Stakes(*right.astype(float), rng.uniform(0.1, 0.2, n), rng.uniform(1, 3, n))


def with_gap(seed, n):
    found = stakes(seed, n)
    return found if found.strong.mean() > found.weak.mean() else with_gap(seed + 1000, n)


scores = st.lists(st.integers(-3, 3) | st.floats(-1, 1), min_size=4, max_size=30)
problems = st.tuples(st.integers(0, 10_000), scores, st.booleans())


@given(problems)
def test_every_point_of_a_curve_is_what_its_threshold_decides(problem):
    seed, given_scores, cascade = problem
    of, score = with_gap(seed, len(given_scores)), np.array(given_scores, dtype=float)
    curve = Curve(of, score, cascade)
    assert set(curve.thresholds) == {np.inf, *score}
    for k, threshold in enumerate(curve.thresholds):
        asked = score >= threshold
        usd = np.where(asked, of.strong_usd + cascade * of.weak_usd, of.weak_usd).mean()
        assert curve.points.calls[0, k] == pytest.approx(asked.mean())
        assert curve.points.usd[0, k] == pytest.approx(usd)
        assert curve.points.quality[0, k] == pytest.approx(np.where(asked, of.strong, of.weak).mean())
        assert curve.position(float(threshold)) == k
    assert curve.points.recovered[0, [0, -1]] == pytest.approx([0, 1])


@given(problems)
@settings(max_examples=25)
def test_what_chance_makes_of_the_same_cost_is_what_simulation_finds(problem):
    seed, given_scores, cascade = problem
    of = with_gap(seed, len(given_scores))
    found = Curve(of, np.array(given_scores, dtype=float), cascade).points
    k = found.usd.shape[1] // 2
    spent = min(found.usd[0, k], of.strong_usd.mean())
    chance = (spent - of.weak_usd.mean()) / (of.strong_usd.mean() - of.weak_usd.mean())
    asked = np.random.default_rng(1).random((20_000, len(of))) < chance
    usd, quality = np.where(asked, of.strong_usd, of.weak_usd), np.where(asked, of.strong, of.weak)
    errors = [5 * x.mean(axis=1).std() / np.sqrt(len(x)) + 1e-9 for x in (usd, quality)]
    assert usd.mean() == pytest.approx(spent, abs=errors[0])
    assert quality.mean() == pytest.approx(found.random[0, k], abs=errors[1])


def test_of_all_orders_the_mean_curve_is_chance():
    of = with_gap(3, 6)
    from itertools import permutations

    every = [Curve(of, np.array(order, dtype=float)).points for order in permutations(range(6))]
    assert np.mean([one.area(one.share)[0] for one in every]) == pytest.approx(0.5, abs=0.02)
    quality = np.mean([one.quality[0] for one in every], axis=0)
    usd = np.mean([one.usd[0] for one in every], axis=0)
    at = (usd - usd[0]) / (usd[-1] - usd[0])
    assert quality == pytest.approx(quality[0] + at * (quality[-1] - quality[0]))


@given(problems)
def test_areas_and_calls_for_a_share_of_the_gap_are_those_of_the_polygon(problem):
    seed, given_scores, cascade = problem
    found = Curve(with_gap(seed, len(given_scores)), np.array(given_scores, dtype=float), cascade).points
    for by in (found.calls, found.share):
        grid = np.linspace(0, 1, 20_001)
        drawn = np.interp(grid, by[0], found.recovered[0])
        assert found.area(by)[0] == pytest.approx(np.trapezoid(drawn, grid), abs=2e-3)
        for target in (0.5, 0.8):
            corners = np.arange(by.shape[1])  # along the curve, since it may rise and fall
            dense = np.union1d(np.linspace(0, corners[-1], 200_001), corners)
            y = np.interp(dense, corners, found.recovered[0])
            first = dense[np.flatnonzero(y >= target - 1e-11)[0]]
            assert found.reached(by, target)[0] == pytest.approx(np.interp(first, corners, by[0]), abs=2e-3)


@pytest.mark.parametrize("cascade", [False, True])
def test_a_resampled_curve_is_the_curve_of_the_resampled_prompts(cascade):
    of, rng = with_gap(5, 40), np.random.default_rng(5)
    curve = Curve(of, rng.integers(0, 6, 40).astype(float), cascade)
    values = np.column_stack([of.weak, of.strong, of.weak_usd, of.strong_usd, np.eye(40)])
    means = bootstrap_means(values, seed=7, resamples=30)
    seen = 0
    for start, block in curve.draws(7, 30):
        for i in range(len(block.weak)):
            counts = np.rint(40 * means[start + i, 4:]).astype(int)
            rows = np.repeat(np.arange(40), counts)
            again = Curve(of.take(rows), curve.scores[rows], cascade)
            kept = [curve.position(float(t)) for t in again.thresholds]
            np.testing.assert_allclose(block.usd[i, kept], again.points.usd[0], rtol=1e-9)
            np.testing.assert_allclose(block.quality[i, kept], again.points.quality[0], rtol=1e-12)
            np.testing.assert_allclose(
                [block.weak[i, 0], block.strong[i, 0], block.weak_usd[i, 0], block.strong_usd[i, 0]],
                means[start + i, :4],
            )
            seen += 1
    assert seen == 30


def test_a_cascade_pays_the_weak_model_for_everyone():
    of = with_gap(2, 50)
    score = np.arange(50.0)
    router, cascade = Curve(of, score).points, Curve(of, score, cascade=True).points
    assert cascade.usd[0, -1] == pytest.approx((of.weak_usd + of.strong_usd).mean())
    assert (cascade.quality == router.quality).all()
    assert (cascade.gain <= router.gain + 1e-12).all()
    assert cascade.random[0, -1] == pytest.approx(of.strong.mean())  # what costs more than the strong model
