"""Sentences: where they end, and chunks made of whole ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evalkit.stages.chunk.base import Span
from evalkit.stages.chunk.tokens import TokenChunker

_CLOSING = "\"'\u201d\u2019\u00bb)\\]"
_MAY_END = re.compile(
    rf"""(?<![.!?\u2026\u061f\u0964])(?P<stop>[.!?\u2026\u061f\u0964]+)[{_CLOSING}]*\s+  # a stop, then white space
      | [\u3002\uff01\uff1f\uff61][{_CLOSING}\u300d\u300f\uff09]*\s*  # scripts without a space between sentences
      | \n[ \t\r]*\n\s*                               # a blank line
      | \n(?=[ \t]*(?:[-*+\u2022>|]|\#{{1,6}}[ ]|\d{{1,3}}[.)][ ]))  # before a list item, a heading, a quote, a row
    """,
    re.VERBOSE,
)
_OPENING = "\"'\u201c\u2018\u00ab([*_"
_ABBREVIATIONS = {
    "approx", "ca", "capt", "cf", "col", "dr", "e.g", "gen", "gov", "i.e", "jr", "lt", "mr", "mrs", "ms", "mt",
    "prof", "rep", "sen", "sgt", "sr", "st", "vs",
}  # fmt: skip
_BEFORE_NUMBERS = {"art", "ch", "eq", "eqs", "fig", "figs", "no", "nos", "p", "pp", "sec", "vol"}


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """Yield the spans of the sentences between two places of a text, which cover it without gaps.

    A sentence ends at a stop before white space, at an ideographic stop, at a blank line, and before a list item, a
    heading, a quote or a table's row; a line that is only wrapped ends none. A full stop ends none after an initial,
    a list's number or a common English abbreviation, nor before a small letter where sentences begin with capitals.
    """
    end = len(text) if end is None else end
    found = [match for match in _MAY_END.finditer(text, start, end) if match.end() < end]
    firsts = [text[match.end()] for match in found if match["stop"]]
    capitals = 2 * sum(map(str.isupper, firsts)) >= sum(map(str.islower, firsts))
    for match in found:
        stop = match.end()
        if not text[start:stop].isspace() and not _goes_on(text, match, capitals):
            yield start, stop
            start = stop
    if start < end:
        yield start, end


def _goes_on(text: str, match: re.Match[str], capitals: bool) -> bool:
    """Whether a sentence goes on behind its full stop."""
    if match["stop"] is None or match["stop"].strip(".…") or text.count("\n", *match.span()) > 1:
        return False
    following, before = text[match.end()], text[max(0, match.start() - 40) : match.start()]
    word = re.split(r"\s", before)[-1].lstrip(_OPENING)
    return (
        (capitals and following.islower())
        or (len(word) == 1 and word.isupper())  # an initial
        or re.fullmatch(r"(\w\.)+\w", word) is not None  # U.S.
        or word.lower() in _ABBREVIATIONS
        or (word.lower() in _BEFORE_NUMBERS and following.isdigit())
        or (word.isdigit() and before.rpartition("\n")[2].strip() == word)  # a list's number
    )


@dataclass(frozen=True)
class Sentences(TokenChunker):
    """Whole sentences, as many as fit into `size` tokens; one that is longer is cut between words.

    With `overlap`, a chunk begins with as many whole sentences of the one before as fit in that many tokens.

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
        """Cut into sentences, then merge."""
        ruler = self.ruler(text)
        pieces = (part for piece in sentences(text) for part in ruler.words(text, piece, self.size))
        yield from ruler.packed(pieces, self.size, self.overlap)
