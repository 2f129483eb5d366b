"""What chunkers share: documents in, pieces with true character offsets out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.columns import Strings
from evalkit.values import Chunks, Documents

Span = tuple[int, int]


@dataclass(frozen=True)
class SpanChunker:
    """A chunker by its `spans`: they become a table, blank edges are trimmed, empty pieces dropped."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "chunk"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    titles: bool = True

    def __call__(self, documents: Documents) -> Chunks:
        """Cut every document."""
        owners, titles, texts, starts, ends = [], [], [], [], []
        for name, title, text in zip(documents.id, documents.title, documents.text, strict=True):
            for start, end in self.spans(text):
                piece = text[start:end]
                kept = piece.strip()
                if kept:
                    start += len(piece) - len(piece.lstrip())  # noqa: PLW2901 - the trimmed edge
                    owners.append(name)
                    titles.append(title if self.titles else "")
                    texts.append(kept)
                    starts.append(start)
                    ends.append(start + len(kept))
        return Chunks(
            Strings.of(owners),
            Strings.of(titles),
            np.array(starts, dtype=np.int64),
            np.array(ends, dtype=np.int64),
            Strings.of(texts),
        )

    def spans(self, text: str) -> Iterator[Span]:
        """Yield (start, end) of every piece, in order of start."""
        raise NotImplementedError


@dataclass(frozen=True)
class Whole(SpanChunker):
    """One chunk a document.

    Parameters
    ----------
    titles : bool
        Whether retrievers also see the document's title before the chunk.
    """

    def spans(self, text: str) -> Iterator[Span]:
        """The whole text."""
        yield 0, len(text)
