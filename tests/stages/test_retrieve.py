"""Retrievers: what they refuse and what they share."""

from __future__ import annotations

import numpy as np
import pytest
from toys import HashedWords

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import BM25, RRF, Dense, Hybrid, SentenceTransformer
from evalkit.testing import check_retriever
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY
from evalkit.values import Chunks, Queries


def test_hybrid_shares_its_parts_nodes_with_the_retrievers_alone():
    dense, sparse = Dense(k=7), BM25(k=9)
    nodes = {node.recipe for node in Hybrid(dense=dense, sparse=sparse).expand(CORPUS, QUERY).walk()}
    for part in (dense, sparse):
        assert {node.recipe for node in part.expand(CORPUS, QUERY).walk()} < nodes


def test_hybrids_that_differ_in_fusion_or_alpha_share_both_searches():
    def searches(hybrid):
        return hybrid.expand(CORPUS, QUERY).inputs

    assert searches(Hybrid()) == searches(Hybrid(alpha=0.1, fusion=RRF(c=1), k=3))


def test_the_corpus_is_embedded_once_for_every_k():
    def corpus_side(k):
        return {node.recipe for node in Dense(k=k).expand(CORPUS, QUERY).walk() if not node.per_query}

    assert corpus_side(3) == corpus_side(30)
    assert len(corpus_side(3)) == 3


def test_hybrid_conforms_at_a_depth_where_the_sides_differ():
    check_retriever(Hybrid(dense=Dense(HashedWords(), k=3), sparse=BM25(k=2), alpha=0.5, fusion=RRF(c=0), k=4))


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
        (lambda: Hybrid(alpha=-0.1), "Hybrid: alpha -0.1 does not fit; it is from 0 to 1"),
        (lambda: Hybrid(alpha=1.1), "Hybrid: alpha 1.1 does not fit; it is from 0 to 1"),
        (lambda: Hybrid(alpha=True), "Hybrid: alpha True does not fit; give a number from 0 to 1 or an Alpha"),
        (lambda: Hybrid(alpha="BM25"), "Hybrid: alpha 'BM25' does not fit; give a number from 0 to 1 or an Alpha"),
        (lambda: RRF(c=-1), "RRF: c -1 does not fit; it is at least 0"),
        (lambda: SentenceTransformer(batch_size=0), "batch_size must be at least 1 and max_length at least 2"),
        (lambda: SentenceTransformer(max_length=1), "batch_size must be at least 1 and max_length at least 2"),
    ],
)
def test_parameters_outside_their_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_ends_of_the_ranges_are_accepted():
    for alpha in (0, 1):
        assert Hybrid(alpha=alpha, fusion=RRF(c=0)).alpha == alpha
    assert BM25(k1=0, b=0).k1 == 0
    assert BM25(b=1).b == 1
