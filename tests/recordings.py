"""Toys for runs with a cassette, and what such runs found."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from paid import Paid
from toys import CALLS, HashedWords, dense, note_call

from evalkit import run
from evalkit.evaluate.calling.recording import Recording
from evalkit.llm.cassettes import calls as recorded
from evalkit.testing import tiny_dataset
from evalkit.values import Answer

METRICS = ["TokenF1", "DollarsPerQuery", "Tokens"]


@dataclass(frozen=True)
class PaidWords(HashedWords):
    """An embedder that is paid for."""

    paid: ClassVar[bool] = True
    journalled: ClassVar[bool] = True

    def __call__(self, texts):
        for text in getattr(texts, "searched", None) or texts.text:
            note_call(text)
        return super().__call__(texts)


@dataclass(frozen=True)
class FreeWords(HashedWords):
    """An embedder on this machine whose vectors are journalled all the same."""

    journalled: ClassVar[bool] = True


@dataclass(frozen=True)
class Counting:
    """Answers no two calls alike."""

    said: str = "answer"

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt, sample, clock):
        note_call(prompt.question)
        return Answer(f"{self.said} {uuid4().hex}")


@dataclass(frozen=True)
class Leaking(Counting):
    """Says what nobody should."""

    async def __call__(self, prompt, sample, clock):
        return Answer("the key is sk-ant-api03-Zx81kQmW02pLr7TnV5cYbE0")


def forget_calls():
    Path(os.environ[CALLS]).unlink(missing_ok=True)


def do(store, file, mode, generator=None, data=None, **changes):
    """One run with a cassette, and the recording that it was."""
    variant = dense(generate=generator or Paid(), **changes)
    with Recording(store, file, mode) as recording:
        return run(variant, data or tiny_dataset(), METRICS, store=recording), recording


def figures(results):
    """All that a run found, to the last digit, but for where it comes from."""
    tables = (results.summary, results.per_query)
    return [table.drop(columns="origin", errors="ignore").to_csv(float_format="%.17g") for table in tables]


def texts(file):
    return {one.prompt.question: one.text for one in recorded(file) if one.kind == "call"}


def part_of(data, number):
    """A data set with the first few of its queries."""
    names = set(list(data.queries.id)[:number])
    rows = [i for i, name in enumerate(data.queries.id) if name in names]
    kept = {
        "queries": data.queries.take(rows),
        "qrels": {name: found for name, found in data.qrels.items() if name in names},
        "answers": {name: found for name, found in data.answers.items() if name in names},
    }
    return replace(data, **kept)


def texts_of(file, name):
    return {
        one.prompt.question: one.text
        for one in recorded(file)
        if one.kind == "call" and one.generator["is"].endswith(name)
    }
