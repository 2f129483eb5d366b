"""Counters: how long a text is, and who says so.

A count is true of the tokenizer that made it and of no other: each model family cuts text its own way, so a counter
names its unit, and results print it. Claude's tokenizer is known only through its API, and tiktoken fetches its
vocabularies over the network: none of the counters here gives Claude's count or OpenAI's, and one must not be taken
for the other. For a budget in a model's own tokens give `Tokens` that model's ``tokenizer.json``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.stages import models


class Counter(Protocol):
    """Says how long texts are."""

    @property
    def unit(self) -> str:
        """What is counted and by what, as results print it."""

    def count(self, texts: list[str]) -> Array:
        """Length of each text: int64 of shape (n,), 0 for an empty one; no text's count depends on another."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of a model's tokenizer, without the special ones that it puts around a text.

    Parameters
    ----------
    tokenizer : str
        Name or folder of a model with a ``tokenizer.json``. Its identity is the hash of its files.
    """

    tokenizer: str = models.MINILM

    packages: ClassVar[tuple[str, ...]] = ("tokenizers",)

    def identity(self) -> dict[str, Any]:
        """Say what the tokenizer is, not where it lies."""
        return {"tokenizer": models.model_digest(self.tokenizer)}

    @property
    def unit(self) -> str:
        """Such as ``all-MiniLM-L6-v2 tokens``."""
        return f"{Path(self.tokenizer).name} tokens"

    def count(self, texts: list[str]) -> Array:
        """Tokens of each text: int64 of shape (n,)."""
        encoded = models.tokenizer(self.tokenizer).encode_batch_fast(texts, add_special_tokens=False)
        return np.array([len(e.ids) for e in encoded], dtype=np.int64)


@dataclass(frozen=True)
class Characters:
    """Characters (Unicode code points)."""

    unit: ClassVar[str] = "characters"

    def count(self, texts: list[str]) -> Array:
        """Characters of each text: int64 of shape (n,)."""
        return np.array([len(text) for text in texts], dtype=np.int64)


@dataclass(frozen=True)
class EstimatedTokens:
    """Characters over a fixed number a token, rounded up: an estimate for where no tokenizer is at hand.

    About 4 is the common rule for English; code, tables, figures and most other languages have fewer characters a
    token, so that there the estimate is too low.

    Parameters
    ----------
    characters : float
        Characters a token.
    """

    characters: float = 4.0

    def __post_init__(self) -> None:
        if self.characters <= 0:
            raise InputError(f"EstimatedTokens: characters is {self.characters}; it must be above 0")

    @property
    def unit(self) -> str:
        """Such as ``4-character tokens``."""
        return f"{self.characters:g}-character tokens"

    def count(self, texts: list[str]) -> Array:
        """Estimated tokens of each text: int64 of shape (n,)."""
        return np.array([math.ceil(len(text) / self.characters) for text in texts], dtype=np.int64)
