"""Chunkers that measure in tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.stages.chunk.base import Span, SpanChunker


@dataclass(frozen=True)
class TokenChunker(SpanChunker):
    """Chunkers that measure in tokens of a model's tokenizer."""

    packages: ClassVar[tuple[str, ...]] = ("tokenizers",)

    size: int = 128
    overlap: int = 0
    tokenizer: str = models.MINILM

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise InputError(
                f"{type(self).__name__}: size {self.size} and overlap {self.overlap} do not fit; "
                "size must be at least 1 and overlap at least 0 and below size"
            )

    def identity(self) -> dict[str, Any]:
        """Say what the tokenizer is, not where it lies."""
        return {"tokenizer": models.model_digest(self.tokenizer)}

    def token_spans(self, text: str) -> list[Span]:
        """Character spans of the text's tokens."""
        encoding = models.tokenizer(self.tokenizer).encode(text, add_special_tokens=False)
        return [(start, end) for start, end in encoding.offsets if end > start]


@dataclass(frozen=True)
class FixedTokens(TokenChunker):
    """Windows of `size` tokens, each beginning ``size - overlap`` tokens after the one before.

    Parameters
    ----------
    titles : bool
        Whether retrievers also see the document's title before the chunk.
    size, overlap : int
        In tokens of `tokenizer`.
    tokenizer : str
        Name or folder of a model with a ``tokenizer.json``.
    """

    def spans(self, text: str) -> Iterator[Span]:
        """Windows over the text's tokens; what is no token (a mark, a zero-width space) stays with the one before."""
        starts = [0, *(start for start, _ in self.token_spans(text)[1:]), len(text)]
        for first in range(0, len(starts) - 1, self.size - self.overlap):
            last = min(first + self.size, len(starts) - 1)
            yield starts[first], starts[last]
            if last == len(starts) - 1:
                return


@dataclass(frozen=True)
class Recursive(TokenChunker):
    """Pieces of at most `size` tokens, cut at the strongest separator that fits: paragraph, line, sentence, word.

    Neighbouring pieces are merged while they fit. With `overlap`, a chunk begins with as many whole pieces of the
    one before as fit in that many tokens.

    Parameters
    ----------
    titles, size, overlap, tokenizer
        As in `FixedTokens`.
    separators : tuple of str
        Strongest first. A text that none of them cuts small enough is cut between tokens.
    """

    separators: tuple[str, ...] = ("\n\n", "\n", ". ", " ")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(self.separators):
            raise InputError(
                "Recursive: a separator is empty; leave it out, long words are cut between tokens anyway"
            )

    def spans(self, text: str) -> Iterator[Span]:
        """Cut, then merge."""
        starts = np.array([start for start, _ in self.token_spans(text)], dtype=np.int64)

        def tokens(start: int, end: int) -> int:
            return int(np.searchsorted(starts, end) - np.searchsorted(starts, start))

        def cut(start: int, end: int, level: int) -> Iterator[Span]:
            if tokens(start, end) <= self.size:
                yield start, end
            elif level == len(self.separators):
                bounds = starts[np.searchsorted(starts, start) : np.searchsorted(starts, end) : self.size].tolist()
                yield from zip([start, *bounds[1:]], [*bounds[1:], end], strict=True)
            else:
                for piece in _split(text, start, end, self.separators[level]):
                    yield from cut(*piece, level + 1)

        window: list[Span] = []
        for piece in cut(0, len(text), 0):
            if window and tokens(window[0][0], piece[1]) > self.size:
                yield window[0][0], window[-1][1]
                while window and (
                    not self.overlap  # not even a piece that is less than a token
                    or tokens(window[0][0], window[-1][1]) > self.overlap
                    or tokens(window[0][0], piece[1]) > self.size
                ):
                    window.pop(0)
            window.append(piece)
        if window:
            yield window[0][0], window[-1][1]


def _split(text: str, start: int, end: int, separator: str) -> Iterator[Span]:
    """Cut a span behind every separator, so that the pieces cover it without gaps."""
    while start < end:
        found = text.find(separator, start, end)
        stop = end if found < 0 else found + len(separator)
        yield start, stop
        start = stop
