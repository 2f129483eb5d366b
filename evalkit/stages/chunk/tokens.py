"""Chunkers that measure in tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.stages.chunk.base import Span, SpanChunker


@dataclass(frozen=True)
class SizedChunker(SpanChunker):
    """Chunkers whose pieces hold at most `size` tokens of a model's tokenizer."""

    size: int = 128
    tokenizer: str = models.MINILM

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"{type(self).__name__}: size is {self.size}; it must be at least 1")

    @property
    def packages(self) -> tuple[str, ...]:
        """What decides where tokens begin."""
        return ("tokenizers",)

    def identity(self) -> dict[str, Any]:
        """Say what the tokenizer is, not where it lies."""
        return {"tokenizer": models.model_digest(self.tokenizer)}

    def token_spans(self, text: str) -> list[Span]:
        """Character spans of the text's tokens."""
        encoding = models.tokenizer(self.tokenizer).encode(text, add_special_tokens=False)
        return [(start, end) for start, end in encoding.offsets if end > start]

    def ruler(self, text: str) -> Ruler:
        """What measures pieces of a text in tokens of the whole text."""
        return Ruler(np.array([start for start, _ in self.token_spans(text)], dtype=np.int64))


@dataclass(frozen=True)
class TokenChunker(SizedChunker):
    """Sized chunkers whose chunks may begin with the end of the one before."""

    overlap: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise InputError(
                f"{type(self).__name__}: size {self.size} and overlap {self.overlap} do not fit; "
                "size must be at least 1 and overlap at least 0 and below size"
            )


@dataclass(frozen=True, eq=False)
class Ruler:
    """Measures pieces of one text by where its tokens begin: int64 array of shape (n,), ascending."""

    starts: Array

    def tokens(self, start: int, end: int) -> int:
        """Tokens that begin in a piece."""
        return int(np.searchsorted(self.starts, end) - np.searchsorted(self.starts, start))

    def windows(self, start: int, end: int, size: int) -> Iterator[Span]:
        """Cut a piece between tokens, behind every `size` of them."""
        first, last = np.searchsorted(self.starts, start), np.searchsorted(self.starts, end)
        bounds = self.starts[first:last:size].tolist()
        yield from zip([start, *bounds[1:]], [*bounds[1:], end], strict=True)

    def cut(self, text: str, piece: Span, size: int, separators: tuple[str, ...]) -> Iterator[Span]:
        """Cut a piece at the strongest separator that makes each part small enough, if none between tokens."""
        if self.tokens(*piece) <= size:
            yield piece
        elif not separators:
            yield from self.windows(*piece, size)
        else:
            for part in _split(text, *piece, separators[0]):
                yield from self.cut(text, part, size, separators[1:])

    def words(self, text: str, piece: Span, size: int) -> Iterator[Span]:
        """Cut a piece between words into as few parts as fit; one that fits stays whole."""
        yield from self.packed(self.cut(text, piece, size, (" ",)), size)

    def packed(self, pieces: Iterable[Span], size: int, overlap: int = 0) -> Iterator[Span]:
        """Merge neighbouring pieces while they fit, each beginning with what of the one before fits in `overlap`."""
        window: list[Span] = []
        for piece in pieces:
            if window and self.tokens(window[0][0], piece[1]) > size:
                yield window[0][0], window[-1][1]
                while window and (
                    not overlap  # not even a piece that is less than a token
                    or self.tokens(window[0][0], window[-1][1]) > overlap
                    or self.tokens(window[0][0], piece[1]) > size
                ):
                    window.pop(0)
            window.append(piece)
        if window:
            yield window[0][0], window[-1][1]


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
        ruler = self.ruler(text)
        pieces = ruler.cut(text, (0, len(text)), self.size, self.separators)
        yield from ruler.packed(pieces, self.size, self.overlap)


def _split(text: str, start: int, end: int, separator: str) -> Iterator[Span]:
    """Cut a span behind every separator, so that the pieces cover it without gaps."""
    while start < end:
        found = text.find(separator, start, end)
        stop = end if found < 0 else found + len(separator)
        yield start, stop
        start = stop
