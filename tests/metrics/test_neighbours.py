"""Recall of approximate search counts ties right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics.base import MetricError
from evalkit.metrics.neighbours import neighbour_recall

GRADES = st.integers(-3, 3)  # few distinct similarities: most are tied


@given(
    st.lists(st.tuples(st.lists(GRADES, max_size=15), st.randoms(use_true_random=False)), max_size=4),
    st.integers(1, 9),
)
def test_recall_is_the_share_that_is_no_farther_than_the_exact_kth(worlds, k):
    everything = [grades for grades, _ in worlds]
    found = [chance.sample(grades, chance.randint(0, len(grades))) for grades, chance in worlds]
    exact = [sorted(grades, reverse=True) for grades in everything]
    expected = []
    for ours, true in zip(found, exact, strict=True):
        wanted = true[:k]
        best = sorted(ours, reverse=True)[:k]
        expected.append(sum(grade >= wanted[-1] for grade in best) / len(wanted) if wanted else 1.0)
    assert neighbour_recall(found, exact, k).tolist() == expected


@given(st.lists(GRADES, min_size=1, max_size=15), st.integers(1, 9), st.randoms(use_true_random=False))
def test_which_of_several_twins_was_found_makes_no_difference(similarities, k, chance):
    """By position one would lose for taking another twin than the exact search did; by similarity none does."""
    by_position = sorted(range(len(similarities)), key=lambda i: (-similarities[i], i))[:k]
    shuffled = chance.sample(range(len(similarities)), len(similarities))
    other = sorted(shuffled, key=lambda i: -similarities[i])[:k]
    scores = [[similarities[i] for i in chosen] for chosen in (other, by_position)]
    assert neighbour_recall(scores[:1], scores[1:], k).tolist() == [1.0]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=15, unique=True), st.integers(1, 9), st.data())
def test_without_ties_recall_is_the_overlap_of_the_two_sets(similarities, k, data):
    everything = list(range(len(similarities)))
    chosen = data.draw(st.lists(st.sampled_from(everything), unique=True))
    found = sorted(chosen, key=lambda i: -similarities[i])[:k]
    exact = sorted(everything, key=lambda i: -similarities[i])[:k]
    recall = neighbour_recall([[similarities[i] for i in found]], [[similarities[i] for i in exact]], k)
    assert recall[0] == len(set(found) & set(exact)) / len(exact)


def test_a_search_that_finds_too_little_loses_what_is_missing():
    assert neighbour_recall([[0.9], []], [[0.9, 0.8, 0.7], [0.5]], 2).tolist() == [0.5, 0.0]


def test_where_there_is_no_neighbour_nothing_was_missed():
    assert neighbour_recall([[]], [[]], 3).tolist() == [1.0]
    assert neighbour_recall([], [], 3).shape == (0,)


def test_only_the_best_k_found_count():
    assert neighbour_recall([[0.1, 0.2, 0.9]], [[0.9, 0.8, 0.7]], 2).tolist() == [0.5]


@pytest.mark.parametrize(
    ("found", "exact", "k", "message"),
    [
        ([[0.9]], [[0.9]], 0, "k is 0; it must be at least 1"),
        ([[0.9]], [[0.9], [0.8]], 1, "1 queries were searched and 2 exactly"),
        ([[0.9, 0.9]], [[0.9, 0.8]], 2, "query 0: similarity 0.9 was found at rank 2, above the exact 0.8"),
        ([[0.5], [np.nan]], [[0.5], [0.9]], 1, "query 1: similarity nan"),
        ([[0.9, 0.8]], [[0.9]], 2, "query 0: 2 neighbours found, 1 exact ones"),
    ],
    ids=["k", "queries", "twice", "nan", "more than all"],
)
def test_what_cannot_be_neighbours_is_refused(found, exact, k, message):
    with pytest.raises(MetricError, match=message):
        neighbour_recall(found, exact, k)
