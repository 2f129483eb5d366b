"""Summaries made of the documents' own sentences, to be searched before the documents are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.columns import Array, Strings
from evalkit.similarity import best_first, cosine
from evalkit.stages.chunk.base import Span, SpanChunker
from evalkit.stages.chunk.sentences import sentences
from evalkit.stages.subset import Positions, rows_by_document
from evalkit.values import Chunks, Documents, Vectors


@dataclass(frozen=True, eq=False)
class Summaries(Chunks):
    """One summary a document, in the documents' order; a document without any sentence has none.

    `text` is sentences of the document, joined by spaces: unlike a chunk's, it need not be a slice of it. `start`
    and `end` span from the first sentence to the last.
    """


@dataclass(frozen=True)
class CutSentences(SpanChunker):
    """Sentences of documents, as chunks without titles."""

    titles: bool = False

    def spans(self, text: str) -> Iterator[Span]:
        """Where sentences end."""
        return sentences(text)


@dataclass(frozen=True)
class Lead:
    """Summarise every document by its first sentences."""

    sentences: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "chunk"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, documents: Documents, pieces: Chunks) -> Summaries:
        """Take the first sentences."""
        return _summaries(documents, pieces, [rows[: self.sentences] for rows in rows_by_document(pieces).values()])


@dataclass(frozen=True)
class Central:
    """Summarise every document by the sentences nearest to the mean of its sentences' vectors, in their order.

    Of sentences as near, the earlier ones are taken; a sentence that stands twice counts in the mean twice and is
    taken once.
    """

    sentences: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "chunk"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, documents: Documents, pieces: Chunks, vectors: Vectors) -> Summaries:
        """Choose in every document by itself."""
        texts, chosen = list(pieces.text), []
        for rows in rows_by_document(pieces).values():
            mean = vectors.values[rows].astype(np.float64).mean(axis=0)
            first: dict[str, int] = {}
            for i in rows.tolist():
                first.setdefault(texts[i], i)
            once = np.array(list(first.values()), dtype=np.int64)
            best = best_first(cosine(vectors.values[once], mean), once, self.sentences)
            chosen.append(np.sort(once[best]))
        return _summaries(documents, pieces, chosen)


def _summaries(documents: Documents, pieces: Chunks, chosen: Sequence[Array]) -> Summaries:
    title, texts = dict(zip(documents.id, documents.title, strict=True)), list(pieces.text)
    owners = [pieces.document[int(rows[0])] for rows in chosen]
    return Summaries(
        Strings.of(owners),
        Strings.of(title[name] for name in owners),
        np.array([pieces.start[rows[0]] for rows in chosen], dtype=np.int64),
        np.array([pieces.end[rows[-1]] for rows in chosen], dtype=np.int64),
        Strings.of(" ".join(texts[i] for i in rows.tolist()) for rows in chosen),
    )


@dataclass(frozen=True)
class WithChunks:
    """Positions of the summaries whose documents have chunks."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "filter"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, summaries: Summaries, chunks: Chunks) -> Positions:
        """Look at every document."""
        there = set(chunks.document)
        return Positions(np.flatnonzero(np.array([name in there for name in summaries.document], dtype=bool)))
