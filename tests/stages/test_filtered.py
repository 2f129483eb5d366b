"""Filtering before and after a search, against searches of a corpus cut by hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
from toys import HashedWords, dense, hybrid

from evalkit import EvalkitError, Experiment, InputError, Sweep, run
from evalkit.columns import Strings
from evalkit.evaluate.plan import make_plan
from evalkit.spec import dumps, loads
from evalkit.stages import BM25, Condition, Dense, Filtered, NotDeleted, Parents, SummariesFirst, Whole
from evalkit.stages.embed.base import embedded
from evalkit.stages.retrieve.filters import Keep
from evalkit.stages.subset import Positions, Subset
from evalkit.testing import check_component, check_retriever, tiny_dataset
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Chunks, Vectors

EVEN = (Condition("number", "in", (0, 2, 4, 6, 8, 10)),)
WITHIN = {
    "dense": Dense(HashedWords(), k=50),
    "keywords": BM25(k=50),
    "hybrid": hybrid(k=50).retrieve,
    "parents": Parents(Dense(HashedWords(), k=200), small=Whole(), k=50),
    "summaries": SummariesFirst(HashedWords(), documents=3, k=50),
}


def numbered():
    """The tiny data set, its documents numbered in their metadata."""
    data = tiny_dataset()
    metadata = Strings.of(json.dumps({"number": i}) for i in range(len(data.documents)))
    return replace(data, documents=replace(data.documents, metadata=metadata))


def found(retriever, data):
    """By query, the documents and offsets of what was found, with scores."""
    seams = dense(chunk=Whole(), retrieve=retriever).nodes()
    known = {CORPUS.recipe: data.documents, QUERY.recipe: data.queries}
    rankings, chunks = run_node(seams["retrieve"], known), run_node(seams["chunks"], known)
    owners = [[chunks.document[i] for i in items] for items in rankings.items]
    return [list(zip(a, b.tolist(), strict=True)) for a, b in zip(owners, rankings.scores, strict=True)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"when": "during"}, "Filtered: when is 'during'; it is 'before' or 'after'"),
        ({"where": Condition()}, "a list of conditions is needed"),
        ({"where": ("deleted",)}, "Filtered: where holds 'deleted', which is not a Condition or NotDeleted"),
        ({"k": 0}, "Filtered: k is 0; it must be at least 1"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(changes, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Filtered(**changes)


@pytest.mark.parametrize("name", WITHIN)
def test_before_is_the_search_of_a_corpus_without_the_others(name):
    data = numbered()
    rows = [i for i in range(len(data.documents)) if i % 2 == 0]
    smaller = replace(data, documents=data.documents.take(rows))
    assert found(Filtered(WITHIN[name], EVEN, k=50), data) == found(WITHIN[name], smaller)


@pytest.mark.parametrize("name", WITHIN)
@pytest.mark.parametrize("k", [1, 3, 50])
def test_after_is_the_search_of_everything_with_the_others_struck_out(name, k):
    data = numbered()
    even = set(list(data.documents.id)[::2])
    expected = [[pair for pair in row if pair[0] in even][:k] for row in found(WITHIN[name], data)]
    assert found(Filtered(WITHIN[name], EVEN, "after", k=k), data) == expected


def test_after_may_return_fewer_than_k_where_before_does_not():
    data, retriever = numbered(), Dense(HashedWords(), k=4)
    before, after = (found(Filtered(retriever, EVEN, when, k=4), data) for when in ("before", "after"))
    assert {len(row) for row in before} == {4}
    assert min(len(row) for row in after) < 4
    for early, late in zip(before, after, strict=True):
        assert early[: len(late)] == late  # for an exact search that looks at each chunk by itself


@pytest.mark.parametrize("when", ["before", "after"])
def test_filters_in_filters_are_all_conditions_at_once(when):
    data, small = numbered(), Condition("number", "<", 7)
    nested = Filtered(Filtered(Dense(HashedWords(), k=50), EVEN, when, k=50), (small,), when, k=5)
    assert found(nested, data) == found(Filtered(Dense(HashedWords(), k=50), (*EVEN, small), when, k=5), data)


@pytest.mark.parametrize("name", WITHIN)
@pytest.mark.parametrize("when", ["before", "after"])
def test_where_nothing_is_kept_nothing_is_found(name, when):
    data = numbered()
    assert found(Filtered(WITHIN[name], (Condition("number", "<", 0),), when), data) == [[]] * len(data.queries)


def test_without_conditions_nothing_is_hidden():
    data = numbered()
    for when in ("before", "after"):
        assert found(Filtered(Dense(HashedWords()), (), when), data) == found(Dense(HashedWords()), data)


def test_no_filter_embeds_the_corpus_again():
    retriever = Dense(HashedWords())
    filters = [(NotDeleted(),), EVEN, (Condition("id", "is", "dogs"),), (*EVEN, NotDeleted())]
    variants = [dense(retrieve=retriever)] + [
        dense(retrieve=Filtered(retriever, where, when)) for where in filters for when in ("before", "after")
    ]
    plan = make_plan({str(i): {"retrieve": v.nodes()["retrieve"]} for i, v in enumerate(variants)})
    counted = Counter(type(node.op).__name__ for node in plan.work)
    assert counted["HashedWords"] == 2  # the corpus, the queries
    assert counted["FlatBuild"] == 1 + len(filters)
    assert counted["Keep"] == len(filters)  # before and after look at the metadata once


@dataclass(frozen=True)
class ByBatch(HashedWords):
    """An embedder whose vectors depend on what else is in the call, as a quantised model's do."""

    row_exact: ClassVar[bool] = False

    def encode(self, texts):
        vectors = super().encode(texts)
        vectors[:, 1] += len(texts) * 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)


@dataclass(frozen=True)
class Centred:
    """An embedder that is fitted to the corpus: its vectors tell how many chunks it saw."""

    inner: HashedWords = field(default_factory=HashedWords)

    def expand(self, chunks, texts):
        return Node(Shifted(), (Node(self.inner, (texts,)), chunks))


@dataclass(frozen=True)
class Shifted:
    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, vectors: Vectors, chunks: Chunks) -> Vectors:
        moved = vectors.values + np.float32(1 / len(chunks))
        return Vectors(moved / np.linalg.norm(moved, axis=1, keepdims=True).astype(np.float32))


@pytest.mark.parametrize("embedder", [ByBatch(), Centred()], ids=lambda e: type(e).__name__)
def test_the_vectors_of_a_subset_are_those_of_the_whole_corpus(embedder):
    table = numbered().documents
    rows = Positions(np.array([0, 3, 4, 7]))
    whole, named = Node(Whole(), (CORPUS,)), Node(Keep(EVEN), (CORPUS, CORPUS))
    part = Node(Subset(), (whole, named))
    known = {CORPUS.recipe: table, QUERY.recipe: numbered().queries, named.recipe: rows}
    everything = run_node(embedded(embedder, whole, whole), known)
    assert run_node(embedded(embedder, part, part), known).digest == everything.take(rows.values).digest
    assert embedded(embedder, part, QUERY) == embedded(embedder, whole, QUERY)
    later = Node(Keep(()), (CORPUS, part))
    twice, again = Node(Subset(), (part, later)), {**known, later.recipe: Positions(np.array([1, 3]))}
    assert run_node(embedded(embedder, twice, twice), again).digest == everything.take([3, 7]).digest


def test_a_run_says_the_same_line(store):
    with pytest.raises(EvalkitError, match=r"^filter: no document has the field 'nummer'; did you mean 'number'\?$"):
        run(dense(retrieve=Filtered(Dense(HashedWords()), (Condition("nummer", "is", 1),))), numbered(), store=store)


def test_a_spec_names_conditions_in_full_and_reads_them_back():
    text = """
name: filters
dataset: datasets/handbook
sweep:
  base:
    retrieve:
      Filtered:
        retriever: {Dense: {k: 50, floor: 0.3}}
        where:
          - NotDeleted
          - {field: year, operator: ">=", value: 2020}
          - {Condition: {field: tags, operator: in, value: [a, b]}}
  grid:
    retrieve.when: [before, after]
metrics: [MRR@10]
"""
    experiment = loads(text)
    retriever = experiment.sweep.base.retrieve
    assert retriever == Filtered(
        Dense(k=50, floor=0.3),
        (NotDeleted(), Condition("year", ">=", 2020), Condition("tags", "in", ("a", "b"))),
    )
    assert loads(dumps(experiment)) == experiment
    assert isinstance(experiment, Experiment)


def test_conditions_are_part_of_the_identity():
    check_component(Filtered(Dense(HashedWords()), (Condition("number", ">", 3), NotDeleted("gone")), "after"))
    one, other = (dense(retrieve=Filtered(where=(Condition("n", "is", value),))) for value in (1, True))
    assert one.fingerprint != other.fingerprint
    listed = Filtered(where=[Condition("n", "in", [1, 2])])
    assert hash(listed) == hash(Filtered(where=(Condition("n", "in", (1, 2)),)))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", WITHIN)
def test_filtered_retrievers_conform(name, when):
    where = (Condition("id", "not in", ("cafe", "fares-2024")), Condition("pages", "<=", 1), NotDeleted())
    check_retriever(Filtered(WITHIN[name], where, when, k=6))


def test_before_and_after_are_a_sweep(store):
    base = dense(retrieve=Filtered(Dense(HashedWords(), k=5), (Condition("number", "<", 6),), k=5))
    results = run(Sweep(base, grid={"retrieve.when": ["before", "after"]}), numbered(), ["Recall@5"], store=store)
    before, after = results.table()["Recall@5"]
    assert before >= after
