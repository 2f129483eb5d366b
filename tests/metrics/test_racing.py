"""Races never stop the best system more often than they may, and stop bad ones early."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from simulations import RANKS, SHARES

from evalkit.errors import InputErrors
from evalkit.metrics import MetricError, parse
from evalkit.metrics.racing import Race, race


def run(matrix, block, level=0.95, **settings):
    """Race systems (rows) over blocks of queries (columns); return who was stopped."""
    stopped = {}
    for end in range(block, matrix.shape[1] + block, block):
        seen = {
            f"s{i:03}": row[: stopped[f"s{i:03}"].queries if f"s{i:03}" in stopped else end]
            for i, row in enumerate(matrix)
        }
        stopped |= race(seen, matrix.shape[1], level=level, **settings)
    return stopped


def same(rng, systems, n):
    """Systems that differ by chance alone."""
    return rng.choice(RANKS, (systems, n), p=SHARES)


def near(rng, systems, n):
    """Copies of one system with a few values changed."""
    matrix = np.tile(rng.choice(RANKS, n, p=SHARES), (systems, 1))
    changed = rng.random(matrix.shape) < 0.03
    return np.where(changed, rng.choice(RANKS, matrix.shape), matrix)


def one_query(rng, systems, n):
    """Equal systems but for one, which is better on a single query."""
    matrix = np.tile(rng.integers(0, 2, n).astype(float), (systems, 1))
    matrix[-1, matrix[-1].argmin()] = 1
    return matrix


def opposed(rng, systems, n):
    """Systems that are right on different queries, equally often but for one."""
    matrix = np.zeros((systems, n))
    for row in matrix:
        row[rng.permutation(n)[: n // 2]] = 1
    matrix[-1, matrix[-1].argmin()] = 1
    return matrix


def few(rng, systems, n):
    """A handful of queries."""
    return rng.integers(0, 2, (systems, 3)).astype(float)


@pytest.mark.parametrize(
    ("world", "systems"), [(same, 8), (near, 8), (one_query, 8), (opposed, 8), (opposed, 2), (few, 8), (few, 2)]
)
def test_the_best_system_is_stopped_no_more_often_than_promised(world, systems):
    rng, lost, level = np.random.default_rng(5), 0, 0.8
    for _ in range(150):
        matrix = world(rng, systems, 48)
        best = matrix.sum(axis=1).argmax()
        matrix = matrix[:, rng.permutation(matrix.shape[1])]
        lost += f"s{best:03}" in run(matrix, 8, level)
    assert stats.binomtest(lost, 150, 1 - level, alternative="greater").pvalue > 0.001


def test_the_same_worlds_catch_a_test_that_must_not_be_repeated():
    rng, lost, level = np.random.default_rng(5), 0, 0.8
    for _ in range(150):
        matrix = opposed(rng, 2, 48)[:, rng.permutation(48)]
        worse, best = matrix[matrix.sum(axis=1).argsort()]
        gains = [(worse - best)[:t] for t in range(8, 49)]
        lost += any(stats.ttest_1samp(g, 0, alternative="greater").pvalue < 1 - level for g in gains if g.std() > 0)
    assert stats.binomtest(lost, 150, 1 - level, alternative="greater").pvalue < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("world", [same, near, opposed])
def test_the_best_of_many_systems_is_stopped_no_more_often_than_promised(world):
    rng, lost, level = np.random.default_rng(6), 0, 0.9
    for _ in range(1_000):
        matrix = world(rng, 100, 120)
        lost += f"s{matrix.sum(axis=1).argmax():03}" in run(matrix[:, rng.permutation(120)], 12, level)
    assert stats.binomtest(lost, 1_000, 1 - level, alternative="greater").pvalue > 0.001


def clear(seed=0, systems=40, n=400):
    """One system is good, one a little worse, the others are bad."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((systems, n))
    for i, row in enumerate(matrix):
        row[rng.permutation(n)[: int((0.8, 0.77, 0.5)[min(i, 2)] * n)]] = 1
    return matrix


def test_bad_systems_are_stopped_early_and_a_close_one_is_not():
    stopped = run(clear(), 50)
    assert len(stopped) >= 38
    assert np.mean([out.queries for name, out in stopped.items() if name > "s001"]) < 150
    assert "s000" not in stopped
    assert "s001" not in stopped or stopped["s001"].queries > 200


def test_why_a_system_was_stopped_is_true_of_what_was_seen_and_of_the_whole_set():
    matrix = clear(3)
    stopped = run(matrix, 50)
    best = matrix.mean(axis=1).max()
    for name, out in stopped.items():
        row, leader = matrix[int(name[1:])], matrix[int(out.leader[1:])]
        assert out.difference == pytest.approx((row - leader)[: out.queries].mean())
        assert 0 <= out.behind <= best - row.mean()  # all at once, in this seeded order
    assert str(stopped["s005"]).startswith(f"stopped after {stopped['s005'].queries} queries: -0.")


def test_of_a_metric_where_less_is_better_the_mirror_image_is_told():
    matrix = clear()
    up, down = run(matrix, 50), run(1 - matrix, 50, higher_is_better=False)
    assert up.keys() == down.keys()
    for name, out in up.items():
        assert down[name].queries == out.queries
        assert down[name].difference == pytest.approx(-out.difference)
        assert down[name].behind == pytest.approx(out.behind, abs=1e-5)


def test_neither_order_of_systems_nor_scale_of_the_metric_changes_who_is_stopped():
    matrix = clear(1, systems=12, n=200)
    seen = {f"s{i:03}": row[:100] for i, row in enumerate(matrix)}
    out = race(seen, 200)
    backwards = race(dict(reversed(seen.items())), 200)
    assert out == backwards
    assert list(backwards) == list(out)[::-1]
    scaled = race({name: 50 * row - 20 for name, row in seen.items()}, 200, low=-20, high=30)
    assert scaled.keys() == out.keys()
    assert [s.behind for s in scaled.values()] == pytest.approx([50 * o.behind for o in out.values()], abs=1e-3)


def test_looking_after_every_query_or_once_stops_the_same_systems():
    matrix = clear(2, systems=6, n=120)
    once = race({f"s{i:03}": row for i, row in enumerate(matrix)}, 120)
    often = run(matrix, 1)
    assert set(often) >= set(once) - {"s001"}
    assert "s000" not in often


def test_when_all_queries_were_seen_only_the_best_remain():
    rng = np.random.default_rng(9)
    matrix = rng.integers(0, 2, (6, 40)).astype(float)
    matrix[2] = matrix[4]
    totals = matrix.sum(axis=1)
    out = race({f"s{i:03}": row for i, row in enumerate(matrix)}, 40)
    assert all(totals[int(name[1:])] < totals.max() for name in out)


def test_no_one_is_stopped_where_there_is_nothing_to_tell_systems_apart():
    ones = np.ones(30)
    assert race({"a": ones, "b": ones}, 30) == {}
    assert race({"a": ones}, 30) == {}
    assert race({}, 30) == {}


def test_a_system_that_was_stopped_is_not_judged_again():
    assert race({"a": [1.0] * 40, "b": [0.0] * 40, "c": [0.0] * 10}, 100).keys() == {"b"}


@pytest.mark.parametrize(
    ("scores", "what"),
    [
        ({"a": [0.5], "b": [np.nan]}, "system 'b': a value is not between 0 and 1"),
        ({"a": [0.5], "b": []}, "system 'b' of shape"),
        ({"a": [[0.5]]}, "system 'a': values of shape"),
        ({"a": [0.5] * 3}, "3 observations of a population of 2"),
    ],
)
def test_scores_that_cannot_be_raced_are_refused(scores, what):
    with pytest.raises(MetricError, match=what):
        race(scores, 2)


def test_a_race_as_a_value_reads_its_metric_and_refuses_what_cannot_decide():
    assert Race("ndcg@10") == Race(parse("nDCG@10"), 64, 0.95)
    with pytest.raises(InputErrors) as caught:
        Race("P95", block=0, level=1.0)
    assert caught.value.places == (("metric",), ("block",), ("level",))
    assert "P95 has no largest value" in caught.value.faults[0]
