"""The suites refuse components that break the promise that each check is about."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from evalkit.stages import BM25, FixedTokens, TopK, Whole
from evalkit.stages.retrieve.bm25 import BM25Search
from evalkit.testing import (
    check_assembler,
    check_chunker,
    check_component,
    check_embedder,
    check_generator,
    check_reranker,
    check_retriever,
)
from evalkit.testing.corpus import tiny_dataset
from evalkit.types import Node
from evalkit.values import Answer, Rankings, Vectors


def refused(check, component, message):
    with pytest.raises(AssertionError, match=message):
        check(component)


# --- values


@dataclass
class NotFrozen:
    size: int = 1


@dataclass(frozen=True)
class NotHashable:
    sizes: Any = field(default_factory=lambda: (1, [2]))


@dataclass(frozen=True)
class Forgetful:
    size: int = 1
    depth: int = 2

    def identity(self):
        return {"depth": 0}


@dataclass(frozen=True)
class ByName:
    model: str = "x"

    def identity(self):
        return {"model": self.model}


@dataclass(frozen=True)
class DropsAField:
    k: int = 3
    alpha: float = 0.5

    def expand(self, chunks, query):
        return Node(TopK(self.k), (chunks, query))


@dataclass(frozen=True)
class Unwritable:
    size: int = 1

    def __post_init__(self):
        object.__setattr__(self, "size", self.size + 1)


def test_a_dataclass_that_can_be_changed_is_refused():
    refused(check_component, NotFrozen(), "not frozen")


def test_a_component_without_a_hash_is_refused():
    with pytest.raises(TypeError, match="unhashable"):
        check_component(NotHashable())


def test_a_class_is_no_component():
    refused(check_component, Whole, "not an instance of a dataclass")


def test_an_identity_that_names_a_model_by_its_name_is_refused():
    refused(check_component, ByName(), "gives model as it was named")


def test_an_identity_without_a_field_is_refused():
    with pytest.raises(AssertionError, match="fingerprint does not depend on the field depth"):
        check_component(Forgetful(), others={"depth": 5})


def test_a_field_that_never_reaches_the_nodes_is_refused():
    refused(check_component, DropsAField(), "recipe does not depend on the field alpha")


def test_a_component_that_does_not_survive_a_copy_is_refused():
    refused(check_component, Unwritable(), "a copy by replace")


def test_a_field_whose_other_values_are_unknown_is_asked_for():
    refused(check_component, FixedTokens(size=1), "no other value of overlap is known")


# --- chunkers


@dataclass(frozen=True)
class Broken(Whole):
    """A chunker whose table is spoilt by one function."""

    spoil: ClassVar[Any]

    def __call__(self, documents):
        return type(self).spoil(super().__call__(documents))


def broken(spoil):
    return type("Broken", (Broken,), {"spoil": staticmethod(spoil)})()


@dataclass(frozen=True)
class Neighbourly(Whole):
    def __call__(self, documents):
        chunks = super().__call__(documents)
        return chunks.take([0]) if len(documents) == 1 and len(chunks) else chunks.take(range(len(chunks) - 1))


@dataclass(frozen=True)
class TooLong(FixedTokens):
    def spans(self, text):
        yield from replace(FixedTokens(), size=2 * self.size).spans(text)


@dataclass(frozen=True)
class Overlapping(FixedTokens):
    def spans(self, text):
        yield from FixedTokens(size=self.size, overlap=1).spans(text)


@pytest.mark.parametrize(
    ("chunker", "message"),
    [
        (broken(lambda c: replace(c, start=c.start + 1)), "the chunk says"),
        (broken(lambda c: replace(c, title=c.text)), "is not the document's"),
        (broken(lambda c: c.take(range(len(c))[::-1])), "not in the order"),
        (broken(lambda c: c.take(range(len(c) - 1))), "in no chunk"),
        (Neighbourly(), "in no chunk"),
        (TooLong(size=4), "8 tokens at .*, size is 4"),
        (Overlapping(size=4), "in two chunks, with overlap 0"),
    ],
    ids=["offsets", "titles", "order", "lost", "neighbours", "size", "overlap"],
)
def test_a_broken_chunker_is_refused(chunker, message):
    refused(check_chunker, chunker, message)


# --- embedders


@dataclass(frozen=True)
class Letters:
    """A small embedder that conforms, with one fault at will."""

    fault: str = ""
    max_length: int = 16
    row_exact: ClassVar[bool] = True

    def __call__(self, texts):
        return Vectors(self.encode(list(texts.text)))

    def encode(self, texts):
        rng = random.Random() if self.fault == "random" else random.Random(1)
        vectors = np.zeros((len(texts), 64), np.float64 if self.fault == "float64" else np.float32)
        for row, text in zip(vectors, texts, strict=True):
            words = text.split()[: None if self.fault == "no cut" else self.max_length]
            row[0] = 1 + (rng.random() if self.fault == "random" else 0)
            for word in words:
                row[1 + sum(word.encode()) % 63] += 1
            row[:] = row / np.linalg.norm(row) / (2 if self.fault == "long" else 1)
        if self.fault == "batch" and len(texts) > 1:
            vectors[0, 0] = np.nextafter(vectors[0, 0], np.float32(2))
        if self.fault == "order":
            return vectors[np.argsort([len(text) for text in texts], kind="stable")]
        return vectors if texts or self.fault != "empty" else np.zeros(0, np.float32)

    def tokens(self, texts):
        counts = [len(text.split()) for text in texts]
        return np.array([min(n, self.max_length) for n in counts] if self.fault == "cut counts" else counts, np.int64)


def test_an_embedder_without_fault_passes():
    check_embedder(Letters())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("random", "the same call gives other vectors"),
        ("float64", "float64, not float32"),
        ("long", "not 1"),
        ("batch", "row_exact, but"),
        ("order", "another vector alone than in a batch"),
        ("empty", "no texts give shape"),
        ("cut counts", "after the cut"),
        ("no cut", "behind max_length"),
    ],
)
def test_a_broken_embedder_is_refused(fault, message):
    refused(check_embedder, Letters(fault), message)


# --- retrievers


@dataclass(frozen=True)
class Search(BM25Search):
    fault: str = ""

    def __call__(self, index, queries):
        found = super().__call__(index, queries)
        items, scores = list(found.items), list(found.scores)
        if self.fault == "twice":
            items = [np.concatenate([row[:1], row[:1], row[2:]]) if len(row) > 1 else row for row in items]
        if self.fault == "ties":
            items = [
                np.concatenate([row[::-1][np.argsort(-s[::-1], kind="stable")]])
                for row, s in zip(items, scores, strict=True)
            ]
        if self.fault == "ascending":
            items, scores = [row[::-1] for row in items], [row[::-1] for row in scores]
        if self.fault == "deeper":
            items, scores = [row[self.k > 3 :] for row in items], [row[self.k > 3 :] for row in scores]
        if self.fault == "others":
            scores = [row / len(queries) for row in scores]
        if self.fault == "outside":
            items = [row + 1 for row in items]
        return Rankings.of(items, scores)


@dataclass(frozen=True)
class Spoilt(BM25):
    fault: str = ""

    def expand(self, chunks, query):
        node = super().expand(chunks, query)
        return Node(Search(self.stemmer, self.stopwords, self.k, self.fault), node.inputs)


def test_a_retriever_without_fault_passes():
    check_retriever(Spoilt())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("twice", "a chunk twice"),
        ("ties", "not in order"),
        ("ascending", "not in order"),
        ("deeper", "not the head of a deeper search"),
        ("others", "alone gives another ranking"),
        ("outside", "a position outside"),
    ],
)
def test_a_broken_retriever_is_refused(fault, message):
    refused(check_retriever, Spoilt(fault=fault, k=40), message)


# --- rerankers


@dataclass(frozen=True)
class TurnRound:
    """Turns the first `depth` chunks of every ranking round, keeps `k` of them, and has one fault at will."""

    fault: str
    depth: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[bool] = True
    calls: ClassVar[list[int]] = [0]

    def __call__(self, queries, rankings):
        self.calls[0] += 1
        if self.fault == "kind":
            return queries
        if self.fault == "writes":
            rankings.scores.values[:] = 0
        head = rankings if self.fault == "depth" else rankings.top(self.depth)
        found = [self.turned(items) for items in head.items]
        scores = [1 / np.arange(1, len(items) + 1) for items in found]
        if self.fault == "others":
            scores = [row / len(queries) for row in scores]
        if self.fault == "ascending":
            scores = [row[::-1] for row in scores]
        made = Rankings.of(found, scores)
        if self.fault == "int64":
            return replace(made, items=replace(made.items, values=made.items.values.astype(np.int64)))
        return made

    def turned(self, items):
        if self.fault == "heads":
            return items[: self.k][::-1]
        if self.fault == "nothing":
            return items[:0]
        if self.fault == "added" and not len(items):
            return np.zeros(1, np.int32)
        if self.fault == "twice":
            return np.repeat(items[::-1], 2)[: self.k]
        if self.fault == "random":
            return np.roll(items, self.calls[0])[: self.k]
        return items[::-1][: None if self.fault == "k" else self.k]


@dataclass(frozen=True)
class Backwards:
    fault: str = ""
    k: int = 10
    depth: int = 50

    def expand(self, chunks, query, ranking):
        return Node(TurnRound(self.fault, self.depth, self.k), (query, ranking))


def test_a_reranker_without_fault_passes():
    check_reranker(Backwards())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("kind", "gives Queries, not Rankings"),
        ("writes", "writes into what it is given"),
        ("ascending", "not in order"),
        ("twice", "a chunk twice"),
        ("int64", "int64.*, not int32"),
        ("added", "were not in the ranking"),
        ("nothing", "every ranking is empty"),
        ("random", "a second call gives another ranking"),
        ("others", "alone gives another ranking"),
        ("k", "chunks with k = 1"),
        ("depth", "what lies below changes the ranking"),
        ("heads", "TurnRound is prefix_exact, but"),
    ],
)
def test_a_broken_reranker_is_refused(fault, message):
    refused(check_reranker, Backwards(fault), message)


# --- assemblers and generators


@dataclass(frozen=True)
class FromElsewhere(TopK):
    def expand(self, chunks, query, found):
        return Node(Elsewhere(), (chunks, query, found))


@dataclass(frozen=True)
class Elsewhere:
    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, chunks, queries, rankings):
        made = TopK().expand(Node("corpus"), Node("query"), Node("query")).op(chunks, queries, rankings)
        return replace(made, sources=replace(made.sources, values=made.question.of(["x"] * len(made.sources.values))))


def test_an_assembler_that_cites_what_was_not_retrieved_is_refused():
    refused(check_assembler, FromElsewhere(), "were not retrieved")


@dataclass(frozen=True)
class Talker:
    fault: str = ""
    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    count: ClassVar[list[int]] = [0]

    async def __call__(self, prompt, sample, clock):
        self.count[0] += 1
        cited = ("nowhere",) if self.fault == "cites" else prompt.sources[:1] * (2 if self.fault == "twice" else 1)
        text = f"{self.count[0]}" if self.fault == "counts" else prompt.question
        return Answer("" if self.fault == "silent" else text, cited)


def test_a_generator_without_fault_passes():
    check_generator(Talker())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("cites", "did not hold"),
        ("twice", "cites a source twice"),
        ("counts", "get other answers"),
        ("silent", "every answer is empty"),
    ],
)
def test_a_broken_generator_is_refused(fault, message):
    refused(check_generator, Talker(fault), message)


# --- the tiny data set


def test_the_tiny_data_set_is_what_it_says():
    data = tiny_dataset()
    assert (len(data.documents), len(data.queries), len(data.answers)) == (12, 8, 8)
    texts = dict(zip(data.documents.id, data.documents.text, strict=True))
    for query, answer in data.answers.items():
        (span,) = answer.evidence
        assert data.qrels[query][span.document] > 0
        assert texts[span.document][span.start : span.end].strip()
    assert {a["split"] for a in data.attributes.values()} == {"dev", "test"}
