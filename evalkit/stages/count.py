"""Counting corpora and prompts.

A prompt's text is what was said before, the passages, each below its title, and the question, with a blank line
behind every part but the last. Its length is the sum of its parts', each counted with the blank line behind it: a
passage's length is then known when the index is built, and a budget and ``PromptTokens`` never disagree. For
characters, and for tokenizers that cut at white space first (WordPiece), the sum is exactly the count of the whole
text; byte-level ones may join a blank line with what follows, and differ by a token a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.stages.counting import Counter
from evalkit.types import Embedder
from evalkit.values import Chunks, Prompt, Prompts, Table


@dataclass(frozen=True, eq=False)
class Counts(Table):
    """Whole numbers: int64 of shape (n,)."""

    values: Array


def message_text(message: str) -> str:
    """Return something said before as it stands in a prompt."""
    return f"{message}\n\n"


def passage_text(title: str, passage: str) -> str:
    """Return a passage as it stands in a prompt."""
    return f"{title}\n{passage}\n\n" if title else f"{passage}\n\n"


def prompt_parts(prompt: Prompt) -> Iterator[str]:
    """Yield the parts that a prompt's text is made of, in order."""
    yield from map(message_text, prompt.history)
    yield from map(passage_text, prompt.titles, prompt.passages)
    yield prompt.question


@dataclass(frozen=True)
class CountTokens:
    """Tokens of every chunk as an embedder sees it, special tokens included, before it cuts.

    Parameters
    ----------
    embedder : Embedder
    """

    embedder: Embedder

    version: ClassVar[int] = 2
    stage: ClassVar[str] = "count"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the embedder."""
        return tuple(getattr(self.embedder, "packages", ()))

    def __call__(self, chunks: Chunks) -> Counts:
        """Count."""
        return Counts(self.embedder.tokens(list(chunks.searched)))


@dataclass(frozen=True)
class CountParts:
    """What counts in a counter's unit.

    Parameters
    ----------
    counter : Counter
    """

    counter: Counter

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "count"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the counter."""
        return tuple(getattr(self.counter, "packages", ()))


@dataclass(frozen=True)
class CountPassages(CountParts):
    """The length of every chunk as a passage of a prompt."""

    def __call__(self, chunks: Chunks) -> Counts:
        """Count."""
        return Counts(self.counter.count([*map(passage_text, chunks.title, chunks.text)]))


@dataclass(frozen=True)
class CountPrompts(CountParts):
    """The length of every prompt: history, passages and question."""

    def __call__(self, prompts: Prompts) -> Counts:
        """Count; a part that stands in several prompts is counted once."""
        rows = [list(prompt_parts(prompt)) for prompt in Prompt.rows(prompts)]
        parts = list(dict.fromkeys(part for row in rows for part in row))
        length = dict(zip(parts, self.counter.count(parts).tolist(), strict=True))
        return Counts(np.array([sum(length[part] for part in row) for row in rows], dtype=np.int64))
