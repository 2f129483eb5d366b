"""Components of a user's own, cheap and exact, that no module of evalkit knows."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit import Variant
from evalkit.columns import Ragged
from evalkit.datasets import Dataset
from evalkit.datasets.build import build
from evalkit.datasets.rows import Row
from evalkit.forms import conforms
from evalkit.stages import BM25, Dense, FixedTokens, Hybrid, Whole
from evalkit.stages.rerank.base import BestFirst, at_most
from evalkit.testing.words import HashedWords, words
from evalkit.types import Node, Retriever
from evalkit.values import Answer, Chunks, Prompt, Queries, Rankings, Vectors
from evalkit.variants import components

CALLS = "TOYS_CALLS"
"""Names the file in which every call of an `Echo` leaves a line, so that counts outlive a killed process."""
KILL_AFTER = "TOYS_KILL_AFTER"
"""After how many of these lines the process is killed."""


RETRIEVERS = ", ".join(sorted(name for name, part in components().items() if conforms(part, Retriever)))
"""What errors list where a retriever is needed."""


@dataclass(frozen=True)
class Echo:
    """Answers with the first sentence of the first passage, and says which question that was."""

    cost: float = 0.0

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.compute(self.stage, lambda: None)
        if self.cost:
            await clock.sleep(self.cost)
        note_call(prompt.question)
        first = prompt.passages[0].split(". ")[0] if prompt.passages else ""
        return Answer(f"{first} [{len(prompt.passages)}: {prompt.question}]", tuple(dict.fromkeys(prompt.sources)))


@dataclass(frozen=True)
class Fails:
    """A generator that answers some questions and then fails."""

    after: int = 0

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        spent = len(calls()) >= self.after
        note_call(prompt.question)
        await asyncio.sleep(0)
        if spent:
            raise RuntimeError("the quota is spent")
        return Answer("yes")


@dataclass(frozen=True)
class FailingWords(HashedWords):
    """An embedder that cannot."""

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        raise RuntimeError("no memory left")


def note_call(question: str) -> None:
    if place := os.environ.get(CALLS):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(question + "\n")
        if len(calls()) == int(os.environ.get(KILL_AFTER, "-1")):
            os.kill(os.getpid(), signal.SIGKILL)


def calls() -> list[str]:
    """The questions of all calls so far."""
    place = Path(os.environ.get(CALLS, ""))
    return place.read_text(encoding="utf-8").splitlines() if place.is_file() else []


def count_calls(monkeypatch: Any, *kinds: type) -> Counter[str]:
    """Count calls of ops by class from now on; the classes stay what they are."""
    counted: Counter[str] = Counter()

    def wrap(kind: type) -> Any:
        original = kind.__call__

        @functools.wraps(original)
        def call(self: Any, *inputs: Any) -> Any:
            counted[kind.__name__] += 1
            return original(self, *inputs)

        return call

    for kind in kinds:
        monkeypatch.setattr(kind, "__call__", wrap(kind))
    return counted


def dense(k: int = 3, **changes: Any) -> Variant:
    """A pipeline of toys: whole documents, hashed words, exact search."""
    return Variant(**{"chunk": Whole(), "retrieve": Dense(HashedWords(), k=k), "generate": Echo(), **changes})


def keywords(k: int = 3) -> Variant:
    return dense(retrieve=BM25(k=k))


def hybrid(k: int = 3, alpha: float = 0.5) -> Variant:
    return dense(retrieve=Hybrid(Dense(HashedWords(), k=8), BM25(k=8), alpha=alpha, k=k))


def pieces(size: int = 16) -> FixedTokens:
    return FixedTokens(size=size, overlap=size // 4)


def small_dataset(**changes: Any) -> Dataset:
    """Four documents and four questions: one without judgement, one that shares no word with any document."""
    documents = {
        "d1": "red apples grow",
        "d2": "green pears fall",
        "d3": "red cherries fall",
        "d4": "blue plums grow",
    }
    queries = {"q1": "red apples", "q2": "pears fall", "q3": "who judges plums", "q4": "xylophone"}
    qrels = {"q1": {"d1": 2, "d3": 1}, "q2": {"d2": 1}, "q4": {"d4": 1}}
    answers = {"q1": "red apples grow", "q2": "green"}
    given = {"documents": documents, "queries": queries, "qrels": qrels, "answers": answers, **changes}
    return build(
        "small",
        [Row(name, {"id": name, "text": text}) for name, text in given["documents"].items()],
        [Row(name, {"id": name, "text": text}) for name, text in given["queries"].items()],
        [
            Row(query, {"query": query, "document": document, "grade": grade})
            for query, judged in given["qrels"].items()
            for document, grade in judged.items()
        ],
        [Row(query, {"query": query, "text": text}) for query, text in given["answers"].items()],
    )


@dataclass(frozen=True)
class SlowWords(HashedWords):
    """An embedder that takes its time."""

    pause: float = 0.2

    version: ClassVar[int] = 1

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        time.sleep(self.pause)
        return super().__call__(texts)


@dataclass(frozen=True)
class Overlap:
    """Scores a pair by its common words; scores are kept by pair."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True
    entry_wise: ClassVar[bool] = True
    journalled: ClassVar[bool] = True

    def __call__(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> Rankings:
        items = rankings.top(self.k).items
        return Rankings(items, Ragged(self.score(self.pairs(chunks, queries, rankings)), items.offsets))

    def pairs(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> list[tuple[str, str]]:
        rows = zip(queries.text, rankings.top(self.k).items, strict=True)
        return [(query, chunks.searched[int(item)]) for query, items in rows for item in items]

    def score(self, pairs: Sequence[tuple[str, str]]) -> Any:
        common = [len(set(words(a)) & set(words(b))) / (1 + len(words(b))) for a, b in pairs]
        return np.array(common, dtype=np.float64)


@dataclass(frozen=True)
class ByOverlap:
    """Ranks by `Overlap`, or by what a subclass names."""

    k: int | None = 5
    depth: int | None = None

    scorer: ClassVar[type[Overlap]] = Overlap

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        return Node(BestFirst(at_most(self.k)), (Node(self.scorer(at_most(self.depth)), (chunks, query, ranking)),))
