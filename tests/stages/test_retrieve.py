"""Retrievers: what they refuse, what they share, and reciprocal rank fusion against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import BM25, Dense, Hybrid, SentenceTransformer
from evalkit.stages.retrieve.fusion import ReciprocalRankFusion
from evalkit.testing import check_retriever
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY
from evalkit.values import Chunks, Queries, Rankings

RANKING = st.lists(st.integers(0, 20), unique=True, max_size=12)
ALPHAS = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))


def rankings(*rows):
    return Rankings.of([np.array(row, np.int32) for row in rows], [np.linspace(1, 0, len(row)) for row in rows])


def fused_by_dictionary(first, second, alpha, c, k):
    scores = {}
    for weight, ranking in ((alpha, first), (1 - alpha, second)):
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + weight / (c + rank)
    found = sorted((item for item in scores if scores[item] > 0), key=lambda item: (-scores[item], item))[:k]
    return found, [scores[item] for item in found]


@given(RANKING, RANKING, ALPHAS, st.integers(0, 100), st.integers(1, 30))
def test_fusion_is_the_sum_of_weighted_reciprocal_ranks(first, second, alpha, c, k):
    fused = ReciprocalRankFusion(alpha, c, k)(rankings(first), rankings(second))
    items, scores = fused_by_dictionary(first, second, alpha, c, k)
    assert fused.items[0].tolist() == items
    assert fused.scores[0].tolist() == scores


@given(RANKING, RANKING, ALPHAS, st.integers(1, 30), st.integers(1, 30))
def test_a_shallow_fusion_is_the_head_of_a_deep_one(first, second, alpha, k, more):
    both = rankings(first), rankings(second)
    deep = ReciprocalRankFusion(alpha, 60, k + more)(*both)
    assert ReciprocalRankFusion(alpha, 60, k)(*both).digest == deep.top(k).digest


@given(st.lists(st.tuples(RANKING, RANKING), max_size=5))
def test_rows_are_fused_each_by_itself(pairs):
    first, second = rankings(*(a for a, _ in pairs)), rankings(*(b for _, b in pairs))
    fusion = ReciprocalRankFusion(0.3, 60, 10)
    together = fusion(first, second)
    for i in range(len(pairs)):
        assert fusion(first.row(i), second.row(i)).digest == together.row(i).digest


@given(RANKING, RANKING)
def test_at_the_ends_of_alpha_only_one_side_is_left(first, second):
    assert ReciprocalRankFusion(1.0, 60, 99)(rankings(first), rankings(second)).items[0].tolist() == first
    assert ReciprocalRankFusion(0.0, 60, 99)(rankings(first), rankings(second)).items[0].tolist() == second


def test_swapping_the_sides_and_the_weight_is_the_same_fusion():
    a, b = rankings([3, 1, 2]), rankings([2, 5])
    assert ReciprocalRankFusion(0.25, 60, 9)(a, b).digest == ReciprocalRankFusion(0.75, 60, 9)(b, a).digest


def test_hybrid_shares_its_parts_nodes_with_the_retrievers_alone():
    dense, sparse = Dense(k=7), BM25(k=9)
    nodes = {node.recipe for node in Hybrid(dense=dense, sparse=sparse).expand(CORPUS, QUERY).walk()}
    for part in (dense, sparse):
        assert {node.recipe for node in part.expand(CORPUS, QUERY).walk()} < nodes


def test_the_corpus_is_embedded_once_for_every_k():
    def corpus_side(k):
        return {node.recipe for node in Dense(k=k).expand(CORPUS, QUERY).walk() if not node.per_query}

    assert corpus_side(3) == corpus_side(30)
    assert len(corpus_side(3)) == 3


def test_hybrid_conforms_at_a_depth_where_the_sides_differ():
    check_retriever(Hybrid(dense=Dense(k=3), sparse=BM25(k=2), alpha=0.5, c=0, k=4))


def test_bm25_conforms_without_stemming_and_stop_words():
    check_retriever(BM25(stemmer=None, stopwords=False, k1=0.0, b=1.0))


@pytest.mark.parametrize(
    ("retriever", "found"),
    [
        (BM25(), ["dogs"]),
        (BM25(stopwords=False), ["dogs", "the"]),
        (BM25(stemmer=None), []),
        (BM25(stemmer=None, stopwords=False, k=1), ["the"]),
    ],
)
def test_chunks_and_queries_are_cut_into_words_alike(retriever, found):
    texts = Strings.of(["dogs", "the"])
    chunks = Chunks(texts, Strings.of(["", ""]), np.zeros(2), np.ones(2), texts)
    given = {CORPUS.recipe: chunks, QUERY.recipe: Queries(Strings.of(["q"]), Strings.of(["the dog"]))}
    ranking = run_node(retriever.expand(CORPUS, QUERY), given)
    assert [texts[i] for i in sorted(ranking.items[0])] == found


@pytest.mark.parametrize("kind", [Dense, BM25, Hybrid])
@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_refused(kind, k):
    with pytest.raises(InputError, match=f"{kind.__name__}: k is {k}; it must be at least 1"):
        kind(k=k)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BM25(k1=-0.1), "BM25: k1 -0.1 and b 0.4 do not fit"),
        (lambda: BM25(b=1.1), "BM25: k1 0.9 and b 1.1 do not fit"),
        (lambda: Hybrid(alpha=-0.1), "Hybrid: alpha -0.1 and c 60 do not fit"),
        (lambda: Hybrid(alpha=1.1), "Hybrid: alpha 1.1 and c 60 do not fit"),
        (lambda: Hybrid(c=-1), "Hybrid: alpha 0.7 and c -1 do not fit"),
        (lambda: SentenceTransformer(batch_size=0), "batch_size must be at least 1 and max_length at least 2"),
        (lambda: SentenceTransformer(max_length=1), "batch_size must be at least 1 and max_length at least 2"),
    ],
)
def test_parameters_outside_their_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_ends_of_the_ranges_are_accepted():
    for alpha in (0, 1):
        assert Hybrid(alpha=alpha, c=0).alpha == alpha
    assert BM25(k1=0, b=0).k1 == 0
    assert BM25(b=1).b == 1
