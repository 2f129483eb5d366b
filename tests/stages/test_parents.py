"""Small chunks and their parents, against brute force."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords, dense, hybrid, pieces

from evalkit import InputError
from evalkit.columns import Strings
from evalkit.evaluate.plan import make_plan
from evalkit.stages import BM25, Condition, Dense, Filtered, FixedTokens, Parents, Whole
from evalkit.stages.chunk.base import SpanChunker
from evalkit.stages.retrieve.parents import ParentOf, ToParents
from evalkit.stages.subset import Positions
from evalkit.testing import check_retriever, tiny_dataset
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY
from evalkit.values import Chunks, Rankings

SPANS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(1, 12)), max_size=12).map(
    sorted
)  # document, start, length
SMALL = Dense(HashedWords(), k=1000)


def chunks(spans):
    texts = Strings.of("x" * length for _, _, length in spans)
    starts = np.array([start for _, start, _ in spans], dtype=np.int64)
    lengths = np.array([length for *_, length in spans], dtype=np.int64)
    return Chunks(
        Strings.of(name for name, *_ in spans), Strings.of("" for _ in spans), starts, starts + lengths, texts
    )


def parent_by_hand(small, larger):
    """The position of the larger span that holds most characters of the small one; -1 where none holds any."""
    name, start, length = small
    shared = [
        len(set(range(start, start + length)) & set(range(s, s + n))) if owner == name else 0
        for owner, s, n in larger
    ]
    best = max(shared, default=0)
    return shared.index(best) if best else -1


def found(retriever, data, chunk):
    seams = dense(chunk=chunk, retrieve=retriever).nodes()
    known = {CORPUS.recipe: data.documents, QUERY.recipe: data.queries}
    return run_node(seams["retrieve"], known), run_node(seams["chunks"], known)


@settings(max_examples=300)
@given(SPANS, SPANS)
def test_a_parent_is_the_chunk_of_the_document_that_overlaps_most_the_earlier_of_two(small, larger):
    parents = ParentOf()(chunks(small), chunks(larger)).values.tolist()
    assert parents == [parent_by_hand(one, larger) for one in small]


@given(SPANS, SPANS)
def test_chunks_of_a_document_need_not_stand_together(small, larger):
    apart = [*larger[::2], *larger[1::2]]
    parents = ParentOf()(chunks(small), chunks(apart)).values.tolist()
    assert parents == [parent_by_hand(one, apart) for one in small]


ROWS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 19), st.sampled_from([0.1, 0.5, 0.5, 0.9])),
        unique_by=lambda pair: pair[0],
        max_size=15,
    ),
    max_size=4,
)
PARENTS = st.lists(st.integers(-1, 6), min_size=20, max_size=20)


def rankings(rows):
    ordered = [sorted(row, key=lambda pair: (-pair[1], pair[0])) for row in rows]
    return Rankings.of([[i for i, _ in row] for row in ordered], [[s for _, s in row] for row in ordered])


@settings(max_examples=200)
@given(ROWS, PARENTS, st.integers(1, 8))
def test_each_parent_is_returned_once_at_its_best_small_chunks_score(rows, parents, k):
    mapped = ToParents(k)(rankings(rows), Positions(np.array(parents)))
    for i, row in enumerate(rows):
        best = {}
        for item, score in row:
            if parents[item] >= 0:
                best[parents[item]] = max(score, best.get(parents[item], -1.0))
        expected = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        assert list(zip(mapped.items[i].tolist(), mapped.scores[i].tolist(), strict=True)) == expected


@given(ROWS, PARENTS, st.integers(1, 8), st.integers(0, 8))
def test_a_shallow_mapping_is_the_head_of_a_deep_one_and_rows_are_mapped_alone(rows, parents, k, more):
    given_rows, table = rankings(rows), Positions(np.array(parents))
    deep = ToParents(k + more)(given_rows, table)
    assert ToParents(k)(given_rows, table).digest == deep.top(k).digest
    for i in range(len(rows)):
        assert ToParents(k + more)(given_rows.row(i), table).digest == deep.row(i).digest


@pytest.mark.parametrize("chunk", [pieces(48), FixedTokens(size=40), Whole()], ids=lambda c: type(c).__name__)
def test_a_chunk_scores_as_the_best_of_the_small_chunks_that_it_is_the_parent_of(chunk):
    data, small = tiny_dataset(), pieces(16)
    ranked, larger = found(Parents(SMALL, small, k=1000), data, chunk)
    by_small, smaller = found(SMALL, data, small)
    spans = list(zip(larger.document, larger.start, larger.end - larger.start, strict=True))
    cut = list(zip(smaller.document, smaller.start, smaller.end - smaller.start, strict=True))
    parents = [parent_by_hand(one, spans) for one in cut]
    for i in range(len(data.queries)):
        best = {}
        for item, score in zip(by_small.items[i].tolist(), by_small.scores[i].tolist(), strict=True):
            best[parents[item]] = max(score, best.get(parents[item], -1.0))
        expected = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
        assert list(zip(ranked.items[i].tolist(), ranked.scores[i].tolist(), strict=True)) == expected


@pytest.mark.parametrize("retriever", [SMALL, BM25(k=30), hybrid(k=30).retrieve], ids=lambda r: type(r).__name__)
def test_chunks_that_are_their_own_small_chunks_are_found_as_without_parents(retriever):
    data, chunk = tiny_dataset(), pieces(32)
    expected, _ = found(retriever, data, FixedTokens(size=32))
    ranked, _ = found(Parents(retriever, FixedTokens(size=32), k=1000), data, FixedTokens(size=32))
    assert ranked.digest == expected.digest
    assert found(Parents(retriever, chunk, k=3), data, chunk)[0].digest != expected.digest


def test_only_the_small_chunks_are_embedded_and_what_is_returned_costs_nothing():
    sizes = [
        dense(chunk=FixedTokens(size=size), retrieve=Parents(Dense(HashedWords()), pieces(16))) for size in (32, 64)
    ]
    plan = make_plan({str(i): {"retrieve": v.nodes()["retrieve"]} for i, v in enumerate(sizes)})
    counted = Counter(type(node.op).__name__ for node in plan.work)
    assert counted["HashedWords"] == 2  # the small chunks, the queries
    assert counted["FlatSearch"] == 1
    assert counted["ParentOf"] == 2


@dataclass(frozen=True)
class FirstWord(SpanChunker):
    """A chunker of a user's own that leaves most of the text out."""

    def spans(self, text):
        yield 0, len(text.split(" ")[0])


def test_a_small_chunk_in_no_chunk_is_left_out():
    data = tiny_dataset()
    ranked, larger = found(Parents(SMALL, pieces(16), k=1000), data, FirstWord())
    assert [len(row) for row in ranked.items] == [len(larger)] * len(data.queries)


def test_within_a_filter_only_small_chunks_of_what_is_kept_are_searched():
    data, few = tiny_dataset(), Parents(Dense(HashedWords(), k=6), pieces(16))
    kept = (Condition("id", "in", ("dogs", "cafe", "history")),)
    before, larger = found(Filtered(few, kept, k=5), data, pieces(48))
    assert {larger.document[i] for i in before.items.values} <= {"dogs", "cafe", "history"}
    assert min(map(len, before.items)) > 0  # the six small chunks are all of these three
    after, _ = found(Filtered(few, kept, "after", k=5), data, pieces(48))
    assert min(map(len, after.items)) == 0


def test_parents_conform():
    check_retriever(Parents(Dense(HashedWords(), k=9), pieces(8), k=4))
    check_retriever(Parents(BM25(k=20), Whole(titles=False)))


def test_k_below_one_is_refused():
    with pytest.raises(InputError, match="Parents: k is 0; it must be at least 1"):
        Parents(k=0)
