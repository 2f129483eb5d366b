"""A small embedder for suites and tests."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.values import Chunks, Queries, Vectors


def words(text: str) -> list[str]:
    """Return a text's words, without case."""
    return re.findall(r"\w+", text.casefold())


@dataclass(frozen=True)
class HashedWords:
    """Embeds a text as the hashed counts of its first words: exact, quick, and near where words are shared.

    Parameters
    ----------
    dimensions : int
    max_length : int
        Words after which a text is cut off.
    """

    dimensions: int = 64
    max_length: int = 40

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        """Embed a table of chunks or queries."""
        return Vectors(self.encode(list(texts.searched if isinstance(texts, Chunks) else texts.text)))

    def encode(self, texts: list[str]) -> Array:
        """Embed plain texts: float32 of shape (n, dimensions)."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for i, text in enumerate(texts):
            for word in words(text)[: self.max_length]:
                vectors[i, zlib.crc32(word.encode()) % self.dimensions] += 1
            if not vectors[i].any():
                vectors[i, 0] = 1
            vectors[i] /= np.linalg.norm(vectors[i])
        return vectors

    def tokens(self, texts: list[str]) -> Array:
        """Words of each text before any cut: int64 of shape (n,)."""
        return np.array([len(words(text)) for text in texts], dtype=np.int64)
