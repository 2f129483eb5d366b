"""Exact search is exact: the true top k by the one similarity, ties by position, in any batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.similarity import cosine
from evalkit.stages.index.flat import Flat, FlatBuild, FlatSearch
from evalkit.types import CORPUS, QUERY
from evalkit.values import Vectors

WORLDS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "n": st.integers(1, 300),
        "d": st.sampled_from([1, 2, 3, 8, 64]),
        "distinct": st.integers(1, 60),
        "noise": st.sampled_from([0, 1e-8, 1e-7, 1e-6, 1]),
    }
)


def unit(vectors):
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def world(seed, n, d, distinct, noise):
    """Vectors with many twins and near-twins; queries that are random, equal to one of them, and nearly so."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(distinct, d))
    corpus = unit(centres[rng.integers(0, distinct, n)] + noise * rng.normal(size=(n, d)))
    queries = np.concatenate([unit(rng.normal(size=(2, d))), corpus[:2], unit(corpus[:1] + 1e-7)])
    return Vectors(corpus), Vectors(queries)


def brute_force(corpus, query, k):
    scores = cosine(corpus.values, query)
    order = sorted(range(len(corpus)), key=lambda i: (-scores[i], i))[:k]
    return order, scores[order].tolist()


def search(corpus, queries, k):
    return FlatSearch(k)(FlatBuild()(corpus), corpus, queries)


@settings(max_examples=150)
@given(WORLDS, st.integers(1, 400))
def test_flat_search_is_brute_force_with_ties_by_position(parameters, k):
    corpus, queries = world(**parameters)
    found = search(corpus, queries, k)
    for i, query in enumerate(queries.values):
        items, scores = brute_force(corpus, query, k)
        assert found.items[i].tolist() == items
        assert found.scores[i].tolist() == scores


@settings(max_examples=40)
@given(WORLDS, st.integers(1, 30))
def test_a_querys_result_does_not_depend_on_its_batch(parameters, k):
    corpus, queries = world(**parameters)
    index = FlatBuild()(corpus)
    many = queries.take(np.arange(40) % len(queries))  # FAISS works otherwise from 20 queries on
    together = FlatSearch(k)(index, corpus, many)
    for i in range(len(queries)):
        alone = FlatSearch(k)(index, corpus, queries.row(i))
        assert alone.digest == together.row(i).digest == together.row(i + len(queries)).digest


@settings(max_examples=40)
@given(WORLDS, st.integers(1, 50), st.integers(0, 50))
def test_a_shallow_search_is_the_head_of_a_deep_one(parameters, k, more):
    corpus, queries = world(**parameters)
    assert search(corpus, queries, k).digest == search(corpus, queries, k + more).top(k).digest


def test_ties_far_beyond_k_come_in_order_of_position():
    corpus = Vectors(unit(np.tile([[1.0, 2.0, 3.0]], (500, 1))))
    found = search(corpus, corpus.row(0), 3)
    assert found.items[0].tolist() == [0, 1, 2]
    assert found.scores[0].tolist() == [1.0, 1.0, 1.0]


def test_a_corpus_without_vectors_has_no_results():
    nothing = Vectors(np.zeros((0, 4), np.float32))
    found = search(nothing, Vectors(unit(np.ones((2, 4)))), 5)
    assert [items.tolist() for items in found.items] == [[], []]


def test_an_index_survives_the_disk(store):
    corpus, queries = world(seed=1, n=50, d=8, distinct=30, noise=1)
    index = FlatBuild()(corpus)
    loaded = type(store)(store.folder).load(store.add(index))
    assert loaded is not index
    assert FlatSearch(5)(loaded, corpus, queries).digest == FlatSearch(5)(index, corpus, queries).digest


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(InputError, match=f"k is {k}; it must be at least 1"):
        Flat().expand(CORPUS, QUERY, k)
