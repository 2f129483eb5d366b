"""Records on their way in: where each came from, what is wrong with it, all told at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Set
from difflib import get_close_matches
from typing import Any, NamedTuple

from evalkit.datasets.corpus import Corpus
from evalkit.errors import InputErrors

_MOST_FAULTS = 20
_LONGEST = 500

BLANKS = "it begins or ends with a blank, which nobody sees; remove it"

encoded = json.JSONEncoder(sort_keys=True, default=str).encode
"""JSON as it is kept: ASCII, keys in order."""


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
        """Note one fault: one line, whatever it quotes."""
        shortened = what if len(what) <= _LONGEST else f"{what[:_LONGEST]} ..."
        self.lines.append("".join(c if c.isprintable() else ascii(c)[1:-1] for c in f"{where}: {shortened}"))

    def check(self) -> None:
        """Raise if there were any."""
        if self.lines:
            more = len(self.lines) - _MOST_FAULTS
            raise InputErrors(self.lines[:_MOST_FAULTS] + ([f"... and {more} more"] if more > 0 else []))


def whole_characters(record: Mapping[str, Any]) -> bool:
    """Whether no text in a record holds half of a surrogate pair, which UTF-8 cannot hold."""
    pending: list[Iterable[Any]] = [record, record.values()]
    try:
        for values in pending:  # grows meanwhile: a record may be nested as deep as it likes
            for value in values:
                if isinstance(value, str):
                    value.encode()
                elif isinstance(value, dict):
                    pending += (value, value.values())
                elif isinstance(value, list | tuple):
                    pending.append(value)
    except UnicodeEncodeError:
        return False
    return True


def misspelt(record: Mapping[str, Any], known: Set[str], free: Collection[str] = ()) -> str:
    """Tell of a key that is neither known nor free and looks like one that is missing; empty where there is none."""
    if record.keys() <= known:
        return ""
    missing = sorted(known - record.keys())
    for key in record:
        if key not in known and key not in free and (close := get_close_matches(key.casefold(), missing, 1, 0.8)):
            return f"no key '{key}' is known; did you mean '{close[0]}'?"
    return ""


def read_span(item: Any, corpus: Corpus, where: str, faults: Faults) -> Span | None:
    """Check one evidence span; None, and a fault, if it is not in its document."""
    try:
        span = Span(item["document"], item["start"], item["end"])
    except (TypeError, KeyError):
        faults.add(where, f"evidence {item!r} is not {{document, start, end}}")
        return None
    if span.document not in corpus:
        faults.add(where, f"evidence in an unknown document '{span.document}'")
        return None
    size = corpus.size(span.document)
    whole = type(span.start) is int and type(span.end) is int
    if not whole or not 0 <= span.start < span.end <= size:
        faults.add(
            where, f"evidence {span.start!r}..{span.end!r} lies outside document '{span.document}' (0..{size})"
        )
        return None
    return span
