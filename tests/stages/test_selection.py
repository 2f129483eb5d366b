"""The order in which a budget takes chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.similarity import cosine
from evalkit.stages import Dense, Diversity, Relevance
from evalkit.stages.assemble.selection import TakeFarthest
from evalkit.testing import check_component
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Rankings, Vectors

N, D = 12, 5


def world(seed):
    """Unit vectors of chunks, some of them equal, and rankings of some of them."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(N, D)).astype(np.float32)
    vectors[4] = vectors[7] = vectors[1]
    ranked = [rng.permutation(N)[: rng.integers(0, N + 1)] for _ in range(3)]
    rankings = Rankings.of(ranked, [np.linspace(1, 0.1, len(row)) for row in ranked])
    return Vectors(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), rankings


def by_hand(items, vectors):
    """Each time the smallest of the cosines to the nearest one taken, over all that are left."""
    taken, left = items[:1], sorted(items[1:])
    while left:
        near = [max(cosine(vectors[[item]], vectors[other])[0] for other in taken) for item in left]
        taken.append(left.pop(near.index(min(near))))
    return taken


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60)
def test_diversity_takes_the_first_then_the_farthest_from_all_taken(seed):
    vectors, rankings = world(seed)
    found = TakeFarthest()(vectors, rankings)
    for row, items in enumerate(rankings.items):
        assert found.items[row].tolist() == by_hand(items.tolist(), vectors.values)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_it_gives_rankings_whose_rows_do_not_depend_on_each_other(seed):
    vectors, rankings = world(seed)
    found = TakeFarthest()(vectors, rankings)
    for row in range(3):
        assert TakeFarthest()(vectors, rankings.row(row)).digest == found.row(row).digest
        assert sorted(found.items[row]) == sorted(rankings.items[row])
        order = np.lexsort((found.items[row], -found.scores[row]))
        assert order.tolist() == list(range(len(order)))


def test_a_twin_of_what_is_taken_comes_last_in_diversity():
    vectors, _ = world(5)
    found = TakeFarthest()(vectors, Rankings.of([np.array([1, 4, 7, 0, 2])], [np.linspace(1, 0, 5)]))
    assert found.items[0].tolist()[0] == 1
    assert found.items[0].tolist()[-2:] == [4, 7]
    assert found.scores[0].tolist()[-2:] == [-1, -1]


def test_relevance_is_the_ranking_itself():
    ranking = Node("query")
    assert Relevance().expand(CORPUS, QUERY, ranking) is ranking


def test_the_retrievers_vectors_are_used():
    ranking = Dense(HashedWords()).expand(CORPUS, QUERY)
    chosen = Diversity(HashedWords()).expand(CORPUS, QUERY, ranking)
    assert len({*chosen.walk()} - {*ranking.walk()}) == 1


@pytest.mark.parametrize("select", [Diversity(HashedWords()), Relevance()])
def test_every_selection_is_a_value(select):
    check_component(select)
