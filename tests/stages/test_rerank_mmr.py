"""Maximal marginal relevance against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.errors import InputError
from evalkit.similarity import best_first, cosine
from evalkit.stages import MMR, Dense
from evalkit.stages.rerank.base import LONGEST
from evalkit.stages.rerank.mmr import SelectMMR
from evalkit.testing import check_component, check_reranker
from evalkit.testing.conformance.retrievers import check_rankings
from evalkit.types import CORPUS, QUERY
from evalkit.values import Rankings, Vectors

N = 14
WORLDS = st.fixed_dictionaries({"seed": st.integers(0, 2**32 - 1), "d": st.sampled_from([1, 2, 3, 16])})
BALANCES = st.one_of(st.sampled_from([1e-9, 0.5, 0.7, 1.0]), st.floats(0.01, 1))


def world(seed, d):
    """Unit vectors with twins and opposites among them, three queries, and a ranking of some chunks for each."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(N + 3, d)).astype(np.float32)
    vectors[3], vectors[9], vectors[6] = vectors[1], vectors[1], -vectors[2]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ranked = [rng.permutation(N)[: rng.integers(0, N + 1)] for _ in range(3)]
    return (
        Vectors(vectors[:N]),
        Vectors(vectors[N:]),
        Rankings.of(ranked, [np.linspace(1, 0, len(r)) for r in ranked]),
    )


def by_definition(items, vectors, query, balance):
    """The greedy choice written down as the paper does, one pair of vectors at a time."""
    like = {(a, b): cosine(vectors[[a]], vectors[b])[0] for a in items for b in items}
    near = {a: cosine(vectors[[a]], query)[0] for a in items}
    left, chosen = sorted(items), []
    while left:
        worth = [balance * near[a] - (1 - balance) * max((like[a, b] for b in chosen), default=-1) for a in left]
        chosen.append(left.pop(worth.index(max(worth))))
    return chosen


@settings(max_examples=100)
@given(WORLDS, BALANCES)
def test_each_choice_is_the_best_given_those_before(parameters, balance):
    vectors, queries, rankings = world(**parameters)
    found = SelectMMR(balance, LONGEST, LONGEST)(vectors, queries, rankings)
    for chosen, items, query in zip(found.items, rankings.items, queries.values, strict=True):
        assert chosen.tolist() == by_definition(items.tolist(), vectors.values, query, balance)


@settings(max_examples=60)
@given(WORLDS, BALANCES, st.integers(1, N), st.integers(1, N))
def test_the_result_is_a_ranking_of_k_chunks_from_the_first_depth_and_the_head_of_a_longer_one(p, balance, k, depth):
    vectors, queries, rankings = world(**p)
    found = SelectMMR(balance, depth, k)(vectors, queries, rankings)
    check_rankings("MMR", found, 3, N)
    assert SelectMMR(balance, depth, N)(vectors, queries, rankings).top(k).digest == found.digest
    assert SelectMMR(balance, LONGEST, k)(vectors, queries, rankings.top(depth)).digest == found.digest
    for chosen, items in zip(found.items, rankings.top(depth).items, strict=True):
        assert len(chosen) == min(k, len(items))
        assert set(chosen.tolist()) <= set(items.tolist())


@settings(max_examples=60)
@given(WORLDS, BALANCES)
def test_neither_other_queries_nor_the_order_before_count(parameters, balance):
    vectors, queries, rankings = world(**parameters)
    select = SelectMMR(balance, LONGEST, 5)
    found = select(vectors, queries, rankings)
    for row in range(3):
        backwards = Rankings.of([rankings.items[row][::-1]], [rankings.scores[row]])
        assert select(vectors, queries.row(row), backwards).digest == found.row(row).digest


@settings(max_examples=60)
@given(WORLDS, BALANCES, st.integers(1, N))
def test_reranking_its_own_result_changes_nothing(parameters, balance, k):
    vectors, queries, rankings = world(**parameters)
    select = SelectMMR(balance, LONGEST, k)
    found = select(vectors, queries, rankings)
    assert select(vectors, queries, found).digest == found.digest


@given(WORLDS)
def test_at_balance_1_the_order_is_that_of_relevance(parameters):
    vectors, queries, rankings = world(**parameters)
    found = SelectMMR(1.0, LONGEST, LONGEST)(vectors, queries, rankings)
    for chosen, scores, items, query in zip(found.items, found.scores, rankings.items, queries.values, strict=True):
        relevance = cosine(vectors.values[items], query)
        order = best_first(relevance, items, N)
        assert chosen.tolist() == items[order].tolist()
        assert scores.tolist() == relevance[order].tolist()


def test_a_twin_of_what_is_chosen_comes_behind_what_is_new():
    vectors = Vectors(np.array([[1, 0], [1, 0], [0.8, 0.6]], np.float32))
    query, ranking = Vectors(np.array([[1, 0]], np.float32)), Rankings.of([[0, 1, 2]], [[3, 2, 1]])
    assert SelectMMR(1.0, 3, 3)(vectors, query, ranking).items[0].tolist() == [0, 1, 2]
    assert SelectMMR(0.4, 3, 3)(vectors, query, ranking).items[0].tolist() == [0, 2, 1]


def test_dense_retrieval_lends_its_vectors():
    ranking = Dense(HashedWords()).expand(CORPUS, QUERY)
    before = {node.recipe for node in ranking.walk()}
    after = {node.recipe for node in MMR(HashedWords()).expand(CORPUS, QUERY, ranking).walk()}
    assert len(after - before) == 1


def test_it_conforms_without_k_and_depth_too():
    reranker = MMR(HashedWords(), balance=0.3, k=None, depth=None)
    check_component(reranker)
    check_reranker(reranker)


@pytest.mark.parametrize("balance", [0, -0.1, 1.1, float("nan")])
def test_a_balance_out_of_range_is_refused(balance):
    with pytest.raises(InputError, match=r"MMR: balance is .*; it must be above 0 and at most 1"):
        MMR(balance=balance)


@pytest.mark.parametrize(("k", "depth"), [(11, 10), (None, 0), (0, 5), (0, None), (-1, None)])
def test_a_depth_that_is_less_than_k_is_refused(k, depth):
    with pytest.raises(InputError, match="MMR: "):
        MMR(k=k, depth=depth)
