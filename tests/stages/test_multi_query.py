"""Asking in several ways: the rewrites, and what is made of their rankings."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import HashedWords, dense

from evalkit import Sweep, run
from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.evaluate.plan import make_plan
from evalkit.forms import Reader, build, plain
from evalkit.spec import names
from evalkit.stages import (
    BM25,
    RRF,
    Dense,
    KeywordsOnly,
    MultiQuery,
    PseudoRelevanceFeedback,
    SubQuestion,
)
from evalkit.stages.retrieve.fusing import Fuse
from evalkit.stages.retrieve.multi_query import FuseVariations
from evalkit.stages.retrieve.rewrites import with_texts
from evalkit.testing import check_component, check_retriever
from evalkit.testing.conformance.given import run_node
from evalkit.testing.identity import Stub
from evalkit.types import CORPUS, QUERY, Node, Retriever
from evalkit.values import Chunks, Queries, Rankings

TEXTS = st.lists(st.text(max_size=60), max_size=5)
REWRITES = [KeywordsOnly(), SubQuestion(1), SubQuestion(2)]


def asked(*texts):
    history = Ragged.of([[f"before {i}"] * (i % 2) for i in range(len(texts))])
    return Queries(Strings.of(f"q{i}" for i in range(len(texts))), Strings.of(texts), history)


def rewritten(rewrite, text):
    return rewrite(asked(text)).text[0]


@dataclass(frozen=True)
class Shout:
    """A user's own rewrite."""

    version = 1
    stage = "rewrite"
    row_exact = True
    row_wise = False

    def __call__(self, queries):
        return with_texts(queries, str.upper)


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("What does an adult pay for a return ticket in 2025?", "adult pay return ticket 2025"),
        ("What's the state-of-the-art method?", "state-of-the-art method"),
        ("Could you please tell me who owns the café?", "owns café"),
        ("who is it", "who is it"),
        ("", ""),
        ("B12", "B12"),
    ],
)
def test_keywords_are_what_is_left_without_stop_words_and_question_words(text, keywords):
    assert rewritten(KeywordsOnly(), text) == keywords


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Who built the line, and when did it open?", ["Who built the line", "when did it open?"]),
        ("Is the café open? What does soup cost?", ["Is the café open?", "What does soup cost?"]),
        ("I lost my wallet on board. Where do I ask or is there a telephone?",
         ["I lost my wallet on board.", "Where do I ask", "is there a telephone?"]),
        ("May cats and dogs go into the café?", []),  # no second question behind this "and"
        ("Who was the master and why?", []),  # a single word asks nothing by itself
        ("How long does the crossing take", []),
    ],
)  # fmt: skip
def test_a_compound_question_is_cut_into_its_parts(text, parts):
    for number in range(1, 4):
        expected = parts[number - 1] if number <= len(parts) else text
        assert rewritten(SubQuestion(number), text) == expected


@given(TEXTS)
def test_a_rewrite_gives_the_same_rows_each_by_itself(texts):
    queries = asked(*texts)
    for rewrite in REWRITES:
        found = rewrite(queries)
        assert list(found.id) == list(queries.id)
        assert [list(row) for row in found.history] == [list(row) for row in queries.history]
        assert [rewritten(rewrite, text) for text in texts] == list(found.text)
        words = Counter(re.findall(r"\w+", " ".join(texts)))
        assert all(not Counter(re.findall(r"\w+", text)) - words for text in found.text), "a rewrite adds no word"
        assert all(bool(new.strip()) == bool(old.strip()) for new, old in zip(found.text, texts, strict=True))


def feedback(texts, query, found, **fields):
    """Expand a query by what was found, given as positions in `texts`."""
    column, ids = Strings.of(texts), Strings.of(f"d{i}" for i in range(len(texts)))
    ends = np.array([len(text) for text in texts])
    chunks, ranking = Chunks(ids, Strings.of("" for _ in texts), 0 * ends, ends, column), Node(Stub(), (QUERY,))
    given = {CORPUS.recipe: chunks, QUERY.recipe: asked(query), ranking.recipe: table(found)}
    return run_node(PseudoRelevanceFeedback(**fields).rewritten(CORPUS, QUERY, ranking), given).text[0]


def test_feedback_adds_words_of_the_first_results_and_none_of_the_querys_own():
    texts = ["ferry fares adults ferries", "ferry timetable", "harbour crane"]
    assert feedback(texts, "ferries", [0, 1], depth=1) == "ferries adults fares"
    assert feedback(texts, "ferries", [0, 1], depth=1, terms=1) == "ferries adults"
    assert feedback(texts, "ferries", [1, 0], depth=1) == "ferries timetable"
    assert feedback(texts, "ferries", [], depth=1) == "ferries"


def test_feedback_weighs_by_rank_share_and_rarity():
    texts = ["apple pear pear plum", "apple plum fig", "plum", "plum", "kiwi"]
    # pear 2/4 and fig 1/2 * 1/3, both times log(1 + 4.5 / 1.5); plum 1/4 + 1/2 * 1/3, times log(1 + 1.5 / 4.5)
    gains = {"pear": 0.5 * np.log(4), "fig": np.log(4) / 6, "plum": (1 / 4 + 1 / 6) * np.log(4 / 3)}
    assert sorted(gains, key=gains.get, reverse=True) == ["pear", "fig", "plum"]
    assert feedback(texts, "apple", [0, 1]) == "apple pear fig plum"
    # the other way round: fig 1/3, plum 1/3 + 1/2 * 1/4, pear 1/2 * 2/4
    assert feedback(texts, "apple", [1, 0]) == "apple fig pear plum"


def test_feedback_spells_a_stem_as_its_results_mostly_do_and_leaves_out_stop_words():
    assert feedback(["boat the crossing the crossings and crossings"], "boat", [0]) == "boat crossings"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SubQuestion(0), "SubQuestion: number is 0; parts count from 1"),
        (lambda: PseudoRelevanceFeedback(depth=0), "PseudoRelevanceFeedback: depth 0 and terms 8 do not fit"),
        (lambda: PseudoRelevanceFeedback(terms=0), "PseudoRelevanceFeedback: depth 5 and terms 0 do not fit"),
        (lambda: MultiQuery(limit=0), "MultiQuery: limit is 0; it must be at least 1"),
        (lambda: MultiQuery(k=0), "MultiQuery: k is 0; it must be at least 1"),
    ],
)
def test_parameters_outside_their_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def table(*rows):
    return Rankings.of([np.array(row, np.int32) for row in rows], [np.linspace(1, 0, len(row)) for row in rows])


@pytest.mark.parametrize(
    ("texts", "limit", "counted"),
    [
        (("a b", "a", "b", "c"), 3, [0, 1, 2]),
        (("a b", "a b ", "b", "c"), 3, [0, 2, 3]),  # the second says nothing new
        (("a b", "", " ", "a b"), 3, [0]),
        (("a b", "a", "b", "c"), 1, [0]),
        (("", "", "b"), 2, [0, 2]),  # the question itself always counts
    ],
)
def test_the_first_distinct_texts_count_all_alike(texts, limit, counted):
    rankings = [table([i, 9, 7 - i]) for i in range(len(texts))]
    found = FuseVariations(RRF(), limit, 9)(*(asked(text) for text in texts), *rankings)
    weights = tuple(1 / len(counted) if i in counted else 0.0 for i in range(len(texts)))
    assert found.digest == Fuse(RRF(), weights, 9)(*rankings).digest


def test_variations_differ_from_row_to_row():
    queries = [asked("a b", "c"), asked("a", "c"), asked("b", "d")]
    rankings = [table([1], [2]), table([3], [4]), table([5], [6])]
    fuse = FuseVariations(RRF(), 3, 9)
    together = fuse(*queries, *rankings)
    assert [items.tolist() for items in together.items] == [[1, 3, 5], [2, 6]]
    for i in (0, 1):
        assert fuse(*(v.row(i) for v in (*queries, *rankings))).digest == together.row(i).digest


def test_searching_for_a_rewrite_is_a_node_that_others_share():
    retriever = Dense(HashedWords(), k=5)
    two = {
        "plain": retriever.expand(CORPUS, QUERY),
        "multi": MultiQuery(retriever, (KeywordsOnly(), SubQuestion(2)), k=3).expand(CORPUS, QUERY),
        "less": MultiQuery(retriever, (KeywordsOnly(),), k=7).expand(CORPUS, QUERY),
    }
    plan = make_plan({label: {"retrieve": node} for label, node in two.items()})
    work = Counter(type(node.op).__name__ for node in plan.work)
    assert work == {
        "HashedWords": 4, "FlatBuild": 1, "FlatSearch": 3, "KeywordsOnly": 1, "SubQuestion": 1, "FuseVariations": 2,
    }  # fmt: skip


def test_feedback_uses_the_search_that_is_made_anyway():
    retriever = Dense(HashedWords(), k=5)
    top = MultiQuery(retriever, (PseudoRelevanceFeedback(),)).expand(CORPUS, QUERY)
    assert retriever.expand(CORPUS, QUERY).recipe in {node.recipe for node in top.walk()}


@pytest.mark.parametrize(
    "multi",
    [
        MultiQuery(Dense(HashedWords(), k=6), (), k=4),
        MultiQuery(BM25(k=6), (*REWRITES, PseudoRelevanceFeedback(depth=2, terms=3)), limit=4, k=5),
        MultiQuery(MultiQuery(BM25(k=6), (KeywordsOnly(),)), (SubQuestion(1), Shout())),
    ],
    ids=["none", "all", "nested"],
)
def test_multi_query_conforms(multi):
    check_retriever(multi)
    reader = Reader({**names(), "HashedWords": HashedWords, "Shout": Shout})
    assert build(json.loads(json.dumps(plain(multi))), Retriever, reader) == multi


def test_a_rewrite_and_a_multi_query_are_values():
    for rewrite in (*REWRITES, PseudoRelevanceFeedback()):
        check_component(rewrite)
    check_component(MultiQuery(BM25(), (KeywordsOnly(), PseudoRelevanceFeedback())))


def test_without_rewrites_the_ranking_is_the_retrievers_own(tiny, store):
    base = dense(retrieve=BM25(k=5))
    results = run(Sweep(base, {"retrieve": [BM25(k=5), MultiQuery(BM25(k=5), (), k=5)]}), tiny, "nDCG@5", store=store)
    values = results.table()["nDCG@5"].tolist()
    assert len(values) == 2
    assert values[0] == values[1]


def test_a_rewrite_stands_in_a_spec_by_name():
    reader = Reader(names())
    spec = {"MultiQuery": {"rewrites": ["KeywordsOnly", {"SubQuestion": {"number": 2}}, "PseudoRelevanceFeedback"]}}
    assert build(spec, Retriever, reader).rewrites == (KeywordsOnly(), SubQuestion(2), PseudoRelevanceFeedback())
    build({"MultiQuery": {"rewrites": ["BM25"]}}, Retriever, reader)
    assert len(reader.faults) == 1
    assert "BM25 cannot stand here" in reader.faults[0]
