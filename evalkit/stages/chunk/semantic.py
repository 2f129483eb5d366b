"""Chunks that end where the subject changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.similarity import cosine
from evalkit.stages.chunk.base import Span
from evalkit.stages.chunk.sentences import sentences
from evalkit.stages.chunk.tokens import SizedChunker
from evalkit.stages.embed import SentenceTransformer
from evalkit.types import Embedder


@dataclass(frozen=True)
class Semantic(SizedChunker):
    """Whole sentences up to where the next ones are about something else.

    Each sentence is embedded together with its `window` neighbours on either side. Where the cosine distance of one
    to the next is above the document's `percentile`, a chunk ends. One that is longer than `size` is cut again at its
    greatest distance, until each part fits; a single sentence that does not is cut between words.

    A document's sentences are embedded in a call of their own, so its chunks do not depend on other documents.

    Parameters
    ----------
    titles : bool
        Whether retrievers also see the document's title before the chunk.
    size : int
        In tokens of `tokenizer`, at most.
    tokenizer : str
        Name or folder of a model with a ``tokenizer.json``.
    embedder : Embedder
        Need not be the one that retrieves.
    percentile : float
        0 to 100; the higher, the fewer chunks. At 100 `size` alone decides how many.
    window : int
        Neighbours on either side, at least 0.

    References
    ----------
    Kamradt's method (95th percentile, one neighbour on either side), as described in Smith and Troynikov, *Evaluating
    chunking strategies for retrieval*, Chroma technical report 2024. There no chunk has a greatest size.
    """

    embedder: Embedder = field(default_factory=SentenceTransformer)
    percentile: float = 95.0
    window: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.percentile <= 100:
            raise InputError(f"Semantic: percentile is {self.percentile}; it must be from 0 to 100")
        if self.window < 0:
            raise InputError(f"Semantic: window is {self.window}; it must be at least 0")

    @property
    def packages(self) -> tuple[str, ...]:
        """What decides where tokens begin and how sentences are embedded."""
        return tuple(dict.fromkeys((*super().packages, *getattr(self.embedder, "packages", ()))))

    def spans(self, text: str) -> Iterator[Span]:
        """Cut where distances are great, then what is still too long."""
        if not text.strip():
            return
        ruler, found = self.ruler(text), list(sentences(text))
        distances = self._distances(text, found)
        far = distances > np.percentile(distances, self.percentile) if len(distances) else np.zeros(0, bool)
        todo = list(pairwise([0, *(np.flatnonzero(far) + 1).tolist(), len(found)]))[::-1]
        while todo:
            first, last = todo.pop()
            piece = found[first][0], found[last - 1][1]
            if last - first == 1 or ruler.tokens(*piece) <= self.size:
                yield from ruler.words(text, piece, self.size)
            else:
                middle = first + 1 + int(distances[first : last - 1].argmax())
                todo += [(middle, last), (first, middle)]

    def _distances(self, text: str, found: list[Span]) -> Array:
        """Cosine distance of each sentence, with its neighbours, to the next: float64 of shape (sentences - 1,)."""
        windows = [
            text[found[max(0, i - self.window)][0] : found[min(len(found) - 1, i + self.window)][1]].strip()
            for i in range(len(found))
        ]
        distinct = {window: i for i, window in enumerate(dict.fromkeys(windows))}
        vectors = self.embedder.encode(list(distinct))[[distinct[window] for window in windows]]
        return np.array([1 - cosine(a[None], b)[0] for a, b in pairwise(vectors)], dtype=np.float64)
