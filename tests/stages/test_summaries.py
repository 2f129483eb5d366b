"""Summaries and the search that begins with them, against brute force."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords, dense, pieces

from evalkit import InputError
from evalkit.columns import Strings
from evalkit.evaluate.plan import make_plan
from evalkit.similarity import cosine
from evalkit.stages import Condition, Dense, Filtered, SummariesFirst, Whole
from evalkit.stages.retrieve.summaries import Central, CutSentences, Lead
from evalkit.store import DiskStore
from evalkit.testing import check_chunker, check_retriever, tiny_dataset
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY
from evalkit.values import Chunks, Documents, Vectors

EMBEDDER = HashedWords(dimensions=16)
WORDS = st.sampled_from(["Red", "apples", "grow", "here", "Pears", "fall"])
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=5).map(lambda w: " ".join(["So", *w]) + "."), max_size=7)
CORPORA = st.lists(SENTENCES, min_size=1, max_size=4)


def documents(corpus):
    ids = [f"d{i}" for i in range(len(corpus))]
    texts = Strings.of(" ".join(one) for one in corpus)
    return Documents(Strings.of(ids), Strings.of(f"Title {i}" for i in ids), texts, Strings.of("{}" for _ in ids))


def central_by_hand(sentences, n):
    """The n distinct sentences nearest to the mean of all, in their order."""
    vectors = EMBEDDER.encode(sentences)
    mean = sum(vectors.astype(np.float64)) / len(sentences)
    near = {}
    for i, sentence in enumerate(sentences):
        near.setdefault(sentence, (-float(cosine(vectors[i : i + 1], mean)[0]), i))
    return [sentences[i] for i in sorted(i for _, i in sorted(near.values())[:n])]


@settings(max_examples=150)
@given(CORPORA, st.integers(1, 4))
def test_central_sentences_are_the_nearest_to_the_mean_in_their_order(corpus, n):
    table = documents(corpus)
    cut = CutSentences()(table)
    made = Central(n)(table, cut, EMBEDDER(cut))
    given_texts = [sentences for sentences in corpus if sentences]
    assert list(made.text) == [" ".join(central_by_hand(sentences, n)) for sentences in given_texts]


@given(CORPORA, st.integers(1, 4))
def test_the_lead_is_the_first_sentences(corpus, n):
    table = documents(corpus)
    made = Lead(n)(table, CutSentences()(table))
    assert list(made.text) == [" ".join(sentences[:n]) for sentences in corpus if sentences]


@given(CORPORA, st.integers(1, 4))
def test_a_summary_names_its_document_its_title_and_where_its_sentences_begin_and_end(corpus, n):
    table = documents(corpus)
    cut = CutSentences()(table)
    for made in (Lead(n)(table, cut), Central(n)(table, cut, EMBEDDER(cut))):
        assert list(made.document) == [f"d{i}" for i, sentences in enumerate(corpus) if sentences]
        assert list(made.title) == [f"Title {name}" for name in made.document]
        text = dict(zip(table.id, table.text, strict=True))
        for name, summary, start, end in zip(made.document, made.text, made.start, made.end, strict=True):
            span = text[name][start:end]
            assert span.startswith(summary.split(".")[0])
            assert span.endswith(summary.split(". ")[-1])


def test_a_summary_depends_on_its_own_document_alone():
    table = tiny_dataset().documents
    cut = CutSentences()(table)
    together = Central(2)(table, cut, EMBEDDER(cut))
    for i in range(len(table)):
        alone = CutSentences()(table.row(i))
        assert Central(2)(table.row(i), alone, EMBEDDER(alone)).digest == together.row(i).digest


def test_sentences_are_pieces_of_their_documents():
    check_chunker(CutSentences())


def test_summaries_are_kept_in_the_store_as_what_they_are(tmp_path):
    table = tiny_dataset().documents
    made = Lead(2)(table, CutSentences()(table))
    loaded = DiskStore(tmp_path).load(DiskStore(tmp_path).add(made))
    assert type(loaded) is type(made)
    assert loaded.digest == made.digest
    assert isinstance(loaded, Chunks)


def found(retriever, data, chunk):
    seams = dense(chunk=chunk, retrieve=retriever).nodes()
    known = {CORPUS.recipe: data.documents, QUERY.recipe: data.queries}
    return run_node(seams["retrieve"], known), run_node(seams["chunks"], known)


def two_steps_by_hand(retriever, data, chunks):
    """By query: the documents with the nearest summaries, then the nearest of their chunks."""
    cut = CutSentences()(data.documents)
    if retriever.summary == "lead":
        summaries = Lead(retriever.sentences)(data.documents, cut)
    else:
        summaries = Central(retriever.sentences)(data.documents, cut, EMBEDDER(cut))
    near, vectors = EMBEDDER(summaries).values, EMBEDDER(chunks).values
    for query in EMBEDDER(data.queries).values:
        scores = cosine(near, query)
        order = sorted(range(len(summaries)), key=lambda i: (-scores[i], i))[: retriever.documents]
        names = {summaries.document[i] for i in order}
        scores = cosine(vectors, query)
        rows = [i for i in range(len(chunks)) if chunks.document[i] in names]
        rows = sorted(rows, key=lambda i: (-scores[i], i))[: retriever.k]
        yield rows, scores[rows].tolist()


@pytest.mark.parametrize("summary", ["central", "lead"])
@pytest.mark.parametrize(("wanted", "k"), [(1, 10), (3, 2), (5, 10), (100, 100)])
def test_a_search_is_one_of_summaries_and_then_one_of_the_chunks_of_what_was_found(summary, wanted, k):
    data, chunk = tiny_dataset(), pieces(16)
    retriever = SummariesFirst(EMBEDDER, summary, 2, wanted, k)
    ranked, chunks = found(retriever, data, chunk)
    for i, (rows, scores) in enumerate(two_steps_by_hand(retriever, data, chunks)):
        assert ranked.items[i].tolist() == rows
        assert ranked.scores[i].tolist() == scores


def test_with_every_document_found_it_is_an_exact_search_of_all_chunks():
    data, chunk = tiny_dataset(), pieces(16)
    ranked, _ = found(SummariesFirst(EMBEDDER, documents=12, k=30), data, chunk)
    assert ranked.digest == found(Dense(EMBEDDER, k=30), data, chunk)[0].digest


def test_few_documents_leave_others_chunks_out_however_near():
    data = tiny_dataset()
    ranked, chunks = found(SummariesFirst(EMBEDDER, documents=2, k=100), data, pieces(16))
    for items in ranked.items:
        assert len({chunks.document[i] for i in items}) == 2


def test_a_document_of_one_sentence_is_its_own_summary():
    data = tiny_dataset()
    one = replace(data.documents, text=Strings.of(text.replace(".", ",") for text in data.documents.text))
    data = replace(data, documents=one)
    retriever = SummariesFirst(EMBEDDER, documents=4, k=4)
    assert found(retriever, data, Whole())[0].digest == found(Dense(EMBEDDER, k=4), data, Whole())[0].digest


def test_a_filter_leaves_the_places_of_summaries_to_what_is_kept():
    data, kept = tiny_dataset(), ("cafe", "dogs", "history")
    rows = [i for i, name in enumerate(data.documents.id) if name in kept]
    smaller = replace(data, documents=data.documents.take(rows))
    retriever = SummariesFirst(EMBEDDER, documents=2, k=5)
    filtered, chunks = found(Filtered(retriever, (Condition("id", "in", kept),), k=5), data, pieces(16))
    expected, among = found(retriever, smaller, pieces(16))
    for i in range(len(data.queries)):
        assert [chunks.text[j] for j in filtered.items[i]] == [among.text[j] for j in expected.items[i]]
        assert filtered.scores[i].tolist() == expected.scores[i].tolist()


def test_what_variants_share_is_worked_on_once():
    grid = [
        dense(retrieve=SummariesFirst(EMBEDDER, summary, documents=n, k=k))
        for summary in ("central", "lead")
        for n in (2, 5)
        for k in (3, 9)
    ]
    grid.append(dense(retrieve=Dense(EMBEDDER)))
    plan = make_plan({str(i): {"retrieve": v.nodes()["retrieve"]} for i, v in enumerate(grid)})
    counted = Counter(type(node.op).__name__ for node in plan.work)
    assert counted["HashedWords"] == 5  # sentences, both kinds of summaries, chunks, queries
    assert counted["FlatSearch"] == 3  # both kinds of summaries, at the deeper depth, and all chunks
    assert counted["WithinFound"] == 4


def test_a_document_without_a_sentence_has_no_summary():
    table = documents([["So it is."], []])
    cut = CutSentences()(table)
    assert list(Lead(1)(table, cut).document) == ["d0"]
    nothing = table.take([])
    empty = CutSentences()(nothing)
    assert len(Lead(1)(nothing, empty)) == len(Central(1)(nothing, empty, Vectors(np.zeros((0, 4), np.float32)))) == 0


@pytest.mark.parametrize("summary", ["central", "lead"])
def test_a_search_by_summaries_conforms(summary):
    check_retriever(SummariesFirst(EMBEDDER, summary, sentences=1, documents=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "SummariesFirst: k is 0; it must be at least 1"),
        ({"documents": 0}, "SummariesFirst: sentences 3 and documents 0 do not fit"),
        ({"sentences": -1}, "SummariesFirst: sentences -1 and documents 10 do not fit"),
        ({"summary": "best"}, "SummariesFirst: summary is 'best'; it is 'central' or 'lead'"),
    ],
)
def test_parameters_outside_their_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SummariesFirst(**changes)
