"""One similarity and one order of ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evalkit.similarity import best_first, cosine

SEEDS = st.integers(0, 2**32 - 1)


def unit(rng, n, d):
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 10**6)), max_size=60, unique_by=lambda pair: pair[1]),
    st.integers(1, 70),
)
def test_best_first_is_a_sort_by_score_then_item(pairs, k):
    scores, items = np.array([s for s, _ in pairs], dtype=float), np.array([i for _, i in pairs], dtype=np.int64)
    expected = sorted(range(len(pairs)), key=lambda i: (-pairs[i][0], pairs[i][1]))[:k]
    assert best_first(scores, items, k).tolist() == expected


@given(SEEDS, st.integers(1, 400), st.integers(1, 20))
def test_best_first_of_many_with_few_distinct_scores_keeps_every_tie_in_order(seed, n, k):
    rng = np.random.default_rng(seed)
    scores, items = rng.integers(0, 3, n).astype(float), rng.permutation(n)
    expected = sorted(range(n), key=lambda i: (-scores[i], items[i]))[:k]
    assert best_first(scores, items, k).tolist() == expected


@given(SEEDS, st.integers(1, 40), st.sampled_from([1, 2, 3, 16, 384]))
def test_the_cosine_of_a_pair_does_not_depend_on_its_neighbours(seed, n, d):
    rng = np.random.default_rng(seed)
    vectors, query = unit(rng, n, d), unit(rng, 1, d)[0]
    whole = cosine(vectors, query)
    assert whole.dtype == np.float64
    assert [cosine(vectors[i : i + 1], query)[0] for i in range(n)] == whole.tolist()
    turned = rng.permutation(n)
    assert cosine(vectors[turned], query).tolist() == whole[turned].tolist()
    assert cosine(np.asfortranarray(vectors), query).tolist() == whole.tolist()


@given(SEEDS, st.sampled_from([2, 16, 384]))
def test_the_cosine_is_the_exact_sum_to_float64_rounding(seed, d):
    rng = np.random.default_rng(seed)
    vectors, query = unit(rng, 8, d), unit(rng, 1, d)[0]
    exact = [sum(float(a) * float(b) for a, b in zip(row, query, strict=True)) for row in vectors]
    np.testing.assert_allclose(cosine(vectors, query), np.minimum(exact, 1), rtol=0, atol=1e-14)


@given(SEEDS, st.sampled_from([1, 2, 3, 16, 384]))
def test_equal_vectors_have_cosine_exactly_one_and_none_has_more(seed, d):
    vectors = unit(np.random.default_rng(seed), 20, d)
    near = np.nextafter(vectors, np.float32(2))
    for vector in vectors:
        assert cosine(vector[None], vector)[0] == 1.0
        assert cosine(near, vector).max() <= 1.0
        assert cosine(vectors, vector).max() == 1.0


@given(SEEDS, st.integers(1, 20), st.integers(1, 9), st.sampled_from([1, 2, 3, 7, 9, 64, 384]))
def test_many_queries_with_vectors_of_their_own_give_what_each_gives_alone(seed, queries, n, d):
    rng = np.random.default_rng(seed)
    pool = unit(rng, 30, d)
    asked, items = pool[:queries], rng.integers(0, 30, (queries, n))
    together = cosine(pool[items], asked)
    assert together.tolist() == [cosine(pool[row], query).tolist() for row, query in zip(items, asked, strict=True)]


def test_the_cosine_of_no_vectors_is_empty():
    assert cosine(np.zeros((0, 3), np.float32), np.zeros(3, np.float32)).shape == (0,)
    assert cosine(np.zeros((2, 0, 3), np.float32), np.zeros((2, 3), np.float32)).shape == (2, 0)
