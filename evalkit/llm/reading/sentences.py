"""Sentences of a passage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from evalkit.llm.reading.words import Token, tokens
from evalkit.memo import remembered

_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[]?[A-Z0-9])|\n+")
_CLOSED = re.compile(r"[.!?:;,][\"')\]]*$")
_HEADING = 10


@dataclass(frozen=True)
class Sentence:
    """A sentence of a passage."""

    text: str

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """Its words."""
        return tokens(self.text)

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of its content words."""
        return frozenset(token.stem for token in self.tokens if token.stem)

    @cached_property
    def asks(self) -> bool:
        """Whether it is a question, which answers none."""
        return self.text.rstrip("\"')]").endswith("?")

    @cached_property
    def heads(self) -> bool:
        """Whether it looks like a heading: short, and not closed by a stop."""
        return len(self.tokens) <= _HEADING and not _CLOSED.search(self.text)


def split_sentences(text: str) -> tuple[str, ...]:
    """Cut a text at the ends of sentences and lines."""
    return tuple(part.strip() for part in _END.split(text) if part.strip())


@remembered(50_000)
def sentences(passage: str) -> tuple[Sentence, ...]:
    """Return a passage's sentences."""
    return tuple(map(Sentence, split_sentences(passage)))
