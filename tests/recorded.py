"""Entries as the journal writes them, for tests of cassettes: by the real generators' own keys."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import ClassVar

from evalkit import fingerprint
from evalkit.calls import INTERRUPTED, Attempt, Call, CallFailed, TokenUsage
from evalkit.llm.call_keys import asked, call_key
from evalkit.values import Answer, Prompt


@dataclass(frozen=True)
class Model:
    """A model that nobody may call in these tests: only what it answered before counts."""

    model: str = "claude-haiku-5-5"
    max_tokens: int = 512

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    paid: ClassVar[bool] = True

    async def __call__(self, prompt, sample, clock):
        raise AssertionError(f"{prompt.question}: called for")

    def at_most(self, prompt):
        return 1.0


MODEL = Model()


def prompt(i=0, **changes):
    given = {
        "question": f"How do I get to island {i}?",
        "titles": ("Ferries", "Buses"),
        "passages": (f"By ferry {i}, for {i} crowns — “cheap”.", "By bus."),
        "sources": ("d1", "d2"),
        "history": ("Hello", "Good day"),
    }
    return Prompt(**{**given, **changes})


def call(i=0, **changes):
    given = {
        "model": "claude-haiku-5-5",
        "usage": TokenUsage(20 + i, 5, 7, 3, 9),
        "pieces": (0.25, 0.5 + i / 1000, 0.75),
        "first_text": 1,
        "seconds": 1.0,
        "request_id": f"req_{i}",
        "day": "2026-11-20",
        "attempts": (Attempt("529 overloaded_error", 0.125, TokenUsage(20), "req_0"),),
    }
    return Call(**{**given, **changes})


def answered(i=0, generator=MODEL, sample=0, **changes):
    """A key and an entry of an answer."""
    ask = changes.pop("prompt", prompt(i))
    answer = Answer(f"By ferry {i}.\nÖland", ("d1",), changes.pop("call", call(i)))
    return call_key(generator, ask, sample), {**answer.plain(), **asked(generator, ask, sample), **changes}


def broke_off(i=0, generator=MODEL, day="2026-11-20", text="By fer"):
    key, made = call_key(generator, prompt(i), 0), call(i, stop=INTERRUPTED, complete=False, day=day)
    entry = {"of": key, "text": text, "cited": [], "call": made.plain(), **asked(generator, prompt(i), 0)}
    return fingerprint.digest(["given up", key, made.plain()]), entry


def failed(i=0, generator=MODEL, final=False):
    key, made = call_key(generator, prompt(i), 0), call(i, pieces=(), stop="529 overloaded_error", complete=False)
    failure = CallFailed(f"Model: island {i}: overloaded; run again", made, final)
    told = {"error": str(failure), "final": final}
    entry = {"of": key, **told, "call": made.plain(), **asked(generator, prompt(i), 0)}
    return fingerprint.digest(["given up", key, made.plain()]), entry


def embedded(text="By ferry.", side="passage", packed="AACAPwAAAAA="):
    embedder = {"is": "evalkit.stages.embed.openai:OpenAIEmbeddings", "version": 1, "model": "text-embedding-3-small"}
    entry = {"float32": packed, "embedder": embedder, "side": side, "text": text}
    return fingerprint.digest([side, text]), entry


def some(n=5):
    """Entries of every kind."""
    return dict([*(answered(i) for i in range(n)), broke_off(n), failed(n + 1), embedded(), answered(0, sample=1)])


def lines_of(path):
    return gzip.decompress(path.read_bytes()).split(b"\n")[:-1]


def rewrite(path, lines):
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0))
