"""An extractive reader: answers are sentences of the passages. Real and deterministic, with no key and no server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.memo import remembered
from evalkit.similarity import best_first, cosine
from evalkit.types import Clock
from evalkit.values import Answer, Prompt

_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[]?[A-Z0-9])|\n+")


class Encoder(Protocol):
    """What the reader needs of an embedding model."""

    def encode(self, texts: list[str]) -> Array:
        """Return unit vectors: float32 of shape (n, d)."""


@dataclass(frozen=True)
class Extractive:
    """Answers with the sentences of the prompt's passages that are nearest to the question, in their own order.

    Parameters
    ----------
    embedder : Encoder
        Ranks the sentences. A passage's sentences are embedded in one call of their own, so an answer depends on
        the prompt and on nothing else that was asked.
    sentences : int
        Sentences in an answer.
    """

    embedder: Encoder
    sentences: int = 2

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the embedder."""
        return tuple(getattr(self.embedder, "packages", ()))

    def __post_init__(self) -> None:
        if self.sentences < 1:
            raise InputError(f"Extractive: sentences is {self.sentences}; it must be at least 1")

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt; an empty prompt gets an empty answer. Every sample is the same."""
        return await clock.compute(self.stage, lambda: self.read(prompt))

    def read(self, prompt: Prompt) -> Answer:
        """Pick the sentences."""
        found: dict[str, tuple[str, Array]] = {}
        for passage, source in zip(prompt.passages, prompt.sources, strict=True):
            sentences = split_sentences(passage)
            for sentence, vector in zip(sentences, _embed(self.embedder, sentences), strict=True):
                found.setdefault(sentence, (source, vector))
        if not found:
            return Answer("")
        texts, kept = list(found), list(found.values())
        scores = cosine(np.stack([vector for _, vector in kept]), _embed(self.embedder, (prompt.question,))[0])
        best = sorted(best_first(scores, np.arange(len(texts)), self.sentences).tolist())
        return Answer(" ".join(texts[i] for i in best), tuple(dict.fromkeys(kept[i][0] for i in best)))


def split_sentences(text: str) -> tuple[str, ...]:
    """Cut a text at the ends of sentences and lines."""
    return tuple(part.strip() for part in _END.split(text) if part.strip())


@remembered(50_000)
def _embed(embedder: Encoder, texts: tuple[str, ...]) -> Array:
    """Embed one passage's sentences in one call: the vectors depend on the passage and on nothing else."""
    vectors = embedder.encode(list(texts))
    vectors.setflags(write=False)
    return vectors
