"""Counting tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evalkit.columns import Array
from evalkit.types import Embedder
from evalkit.values import Chunks, Prompt, Prompts, Table


@dataclass(frozen=True, eq=False)
class Counts(Table):
    """Whole numbers: int64 of shape (n,)."""

    values: Array


@dataclass(frozen=True)
class CountTokens:
    """Tokens of every chunk as the embedder sees it, before it cuts; or of every prompt's whole text.

    Parameters
    ----------
    counter : Embedder
        Its tokenizer counts, special tokens included. A language model's own tokenizer will count otherwise.
    """

    counter: Embedder

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "count"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the counter."""
        return tuple(getattr(self.counter, "packages", ()))

    def __call__(self, texts: Chunks | Prompts) -> Counts:
        """Count."""
        if isinstance(texts, Chunks):
            return Counts(self.counter.tokens(list(texts.searched)))
        return Counts(self.counter.tokens([_text(prompt) for prompt in Prompt.rows(texts)]))


def _text(prompt: Prompt) -> str:
    passages = (
        f"{title}\n{text}" if title else text for title, text in zip(prompt.titles, prompt.passages, strict=True)
    )
    return "\n\n".join([*passages, prompt.question])
