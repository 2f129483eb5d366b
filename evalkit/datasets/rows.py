"""Records on their way in: where each came from, what is wrong with it, all told at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.errors import InputErrors

_MOST_FAULTS = 20


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of a document's text."""

    document: str
    start: int
    end: int


class Row(NamedTuple):
    """One record on its way in, and where it came from (``file:line`` or ``frame row n``)."""

    where: str
    data: Mapping[str, Any]


class Faults:
    """Collects what is wrong, so that a user sees all of it at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note one fault."""
        self.lines.append(f"{where}: {what}")

    def check(self) -> None:
        """Raise if there were any."""
        if self.lines:
            more = len(self.lines) - _MOST_FAULTS
            raise InputErrors(self.lines[:_MOST_FAULTS] + ([f"... and {more} more"] if more > 0 else []))


def read_span(item: Any, texts: Mapping[str, Mapping[str, Any]], where: str, faults: Faults) -> Span | None:
    """Check one evidence span; None, and a fault, if it is not in its document."""
    try:
        span = Span(item["document"], item["start"], item["end"])
    except (TypeError, KeyError):
        faults.add(where, f"evidence {item!r} is not {{document, start, end}}")
        return None
    if type(span.document) is not str or span.document not in texts:
        faults.add(where, f"evidence in an unknown document '{span.document}'")
        return None
    size = len(texts[span.document]["text"])
    whole = type(span.start) is int and type(span.end) is int
    if not whole or not 0 <= span.start < span.end <= size:
        faults.add(where, f"evidence {span.start}..{span.end} lies outside document '{span.document}' (0..{size})")
        return None
    return span
