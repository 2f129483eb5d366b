"""BM25 gives the scores of its published formula."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.columns import Strings
from evalkit.stages.retrieve.bm25 import BM25Build, BM25Search, tokenize
from evalkit.values import Chunks, Queries

WORDS = st.lists(st.sampled_from(["wren", "boat", "oak", "tide", "fare", "b"]), max_size=12)


def chunks(texts, titles=None):
    n, texts = len(texts), Strings.of(texts)
    positions = np.zeros(n, np.int64)
    return Chunks(Strings.of(map(str, range(n))), Strings.of(titles or [""] * n), positions, positions, texts)


def asked(*texts):
    return Queries(Strings.of(map(str, range(len(texts)))), Strings.of(texts))


def search(texts, queries, k=10, k1=0.9, b=0.4, stemmer=None, stopwords=False):
    index = BM25Build(k1, b, stemmer, stopwords)(chunks(texts))
    return BM25Search(stemmer, stopwords, k)(index, asked(*queries))


def lucene(documents, query, k1, b):
    """Kamphuis et al. 2020, "Lucene (accurate)": a query's repeated word counts as often as it stands there."""
    n, mean = len(documents), sum(map(len, documents)) / len(documents)
    holding = Counter(word for document in documents for word in set(document))
    scores = []
    for document in documents:
        counts = Counter(document)
        scores.append(
            sum(
                log(1 + (n - holding[word] + 0.5) / (holding[word] + 0.5))
                * counts[word] / (counts[word] + k1 * (1 - b + b * len(document) / mean))
                for word in query if counts[word]
            )
        )  # fmt: skip
    return scores


@settings(max_examples=150)
@given(
    st.lists(WORDS, min_size=1, max_size=8).filter(any),
    WORDS,
    st.sampled_from([0.0, 0.9, 1.2, 2.0]),
    st.sampled_from([0.0, 0.4, 0.75, 1.0]),
)
def test_scores_are_those_of_the_formula(documents, query, k1, b):
    found = search([" ".join(d) for d in documents], [" ".join(query)], k=100, k1=k1, b=b)
    expected = lucene(documents, query, k1, b)
    assert set(found.items[0].tolist()) == {i for i, score in enumerate(expected) if score > 0}
    for i, score in zip(found.items[0], found.scores[0], strict=True):
        assert score == pytest.approx(expected[i], rel=1e-5)
    order = list(zip((-found.scores[0]).tolist(), found.items[0].tolist(), strict=True))
    assert order == sorted(order)


def test_equal_chunks_come_in_order_of_position():
    assert search(["wren"] * 30 + ["oak"], ["wren"], k=4).items[0].tolist() == [0, 1, 2, 3]


def test_a_chunk_that_shares_no_word_is_never_found():
    found = search(["wren boat", "oak", "tide"], ["wren", "unknown", ""])
    assert [items.tolist() for items in found.items] == [[0], [], []]


def test_words_are_folded_stemmed_and_stop_words_dropped():
    assert tokenize(["The Boats are SAILING"], "porter", True) == [["boat", "sail"]]
    assert tokenize(["The Boats are SAILING"], None, False) == [["the", "boats", "are", "sailing"]]


def test_words_of_one_character_count():
    found = search(["form b", "form c"], ["form c"])
    assert found.items[0].tolist() == [1, 0]
    assert found.scores[0][0] > found.scores[0][1]


def test_titles_are_searched():
    index = BM25Build(0.9, 0.4, None, False)(chunks(["oak", "oak"], ["Wren", ""]))
    assert BM25Search(None, False, 5)(index, asked("wren")).items[0].tolist() == [0]


@pytest.mark.parametrize("texts", [[], ["the of and"], ["the", "a"]], ids=["no chunks", "one", "two of stop words"])
def test_chunks_without_a_word_give_no_results_and_no_warning(texts):
    found = search(texts, ["the boat", ""], stopwords=True)
    assert [items.tolist() for items in found.items] == [[], []]


def test_the_index_is_the_same_in_another_process_whatever_its_hash_seed():
    code = """
import sys, numpy as np
from evalkit.columns import Strings
from evalkit.stages.retrieve.bm25 import BM25Build
from evalkit.values import Chunks
texts = Strings.of(["the wren and the oak", "a boat on the tide", "oak boat"])
zeros = np.zeros(3, np.int64)
chunks = Chunks(Strings.of("012"), Strings.of(["", "", ""]), zeros, zeros, texts)
print(BM25Build(0.9, 0.4, "porter", True)(chunks).digest)
"""
    here = BM25Build(0.9, 0.4, "porter", True)(chunks(["the wren and the oak", "a boat on the tide", "oak boat"]))
    for seed in "01":
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == here.digest


def test_an_index_survives_the_disk(store):
    index = BM25Build(0.9, 0.4, None, False)(chunks(["wren boat", "boat", "oak"]))
    loaded = type(store)(store.folder).load(store.add(index))
    query = asked("boat oak")
    assert BM25Search(None, False, 5)(loaded, query).digest == BM25Search(None, False, 5)(index, query).digest
