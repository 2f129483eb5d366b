"""Generators that cost nothing and say what can be checked, and clients that speak to a server on this machine."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import anthropic

from evalkit.calls import Call
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.server import FakeClaude, serving
from evalkit.values import Answer, Prompt

KEY = "sk-planted-in-a-test-0123456789"
MODEL = "claude-haiku-5-5"  # caches from 512 tokens on


@dataclass(frozen=True)
class FirstSentence:
    """Says the first sentence of the first passage, and cites it; without a passage, the question."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt, sample, clock):
        if not prompt.passages:
            return Answer(prompt.question)
        return Answer(prompt.passages[0].partition(".")[0] + ".", (prompt.sources[0],))


@dataclass(frozen=True)
class Paced:
    """Says a text in pieces that come every so many seconds."""

    text: str = "The ferry takes fifty minutes."
    pieces: int = 5
    every: float = 0.01

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt, sample, clock):
        times = tuple(self.every * (i + 1) for i in range(self.pieces))
        return Answer(self.text, call=Call("any", pieces=times, seconds=times[-1]))


class Gate:
    """Answers nobody before so many have asked."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    def __init__(self, number):
        self.number, self.waiting, self.open = number, 0, asyncio.Event()

    async def __call__(self, prompt, sample, clock):
        self.waiting += 1
        if self.waiting >= self.number:
            self.open.set()
        await self.open.wait()
        return Answer("Yes.")


@dataclass(frozen=True)
class Broken:
    """Fails."""

    error: Exception

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt, sample, clock):
        raise self.error


@contextmanager
def talking(generator=None, process=False, **fields):
    """A server, and the real SDK's client of it, which retries nothing."""
    with serving(FakeClaude(generator or FirstSentence(), **fields), process=process) as server:
        http = anthropic.DefaultHttpxClient(trust_env=False)
        with anthropic.Anthropic(api_key=KEY, base_url=server.url, max_retries=0, http_client=http) as client:
            yield server, client


def a_prompt(passages=2, length=10, question="How long does the crossing take?"):
    texts = tuple(f"Passage {i} says so. " + f"word{i} " * length for i in range(passages))
    return Prompt(question, ("",) * passages, texts, tuple(f"doc{i}" for i in range(passages)))


def body(prompt=None, model=MODEL, max_tokens=500, documents="question", **marks):
    """A request's fields as `Chat` lays a prompt out."""
    messages = Chat(documents=documents, breakpoints=Breakpoints(**marks)).messages(prompt or a_prompt())

    def block(b):
        control = {"cache_control": {"type": "ephemeral", "ttl": b.ttl}} if b.ttl else {}
        return {"type": "text", "text": b.text, **control}

    return {
        "model": model,
        "max_tokens": max_tokens,
        "system": [block(b) for b in messages.system],
        "messages": [{"role": t.role, "content": [block(b) for b in t.blocks]} for t in messages.turns],
    }


def ask(text="Hello?", **fields):
    """The smallest request."""
    return {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **fields}
