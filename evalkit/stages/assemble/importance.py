"""How important the sentences of a text look, whatever is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.stages.chunk.sentences import sentences

DECISIONS = ("decided", "agreed", "concluded")
"""Words that mark what was settled."""


def split(text: str) -> list[str]:
    """Return the sentences of a text."""
    pieces = (text[start:end].strip() for start, end in sentences(text))
    return [piece for piece in pieces if piece]


def importance(found: Sequence[str], words: Sequence[str]) -> list[float]:
    """Return how important each sentence of one text looks.

    Two points where one of `words` stands in it; one for 10 to 30 words, half a one for fewer; one for the text's
    first and last sentence.

    Parameters
    ----------
    found : sequence of str
        All sentences of the text, in order.
    words : sequence of str
        Whole words, in any case.
    """
    marked = re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE) if words else None
    scores = []
    for i, sentence in enumerate(found):
        length = len(sentence.split())
        score = 1.0 if 10 <= length <= 30 else 0.5 if length < 10 else 0.0
        score += 2.0 if marked is not None and marked.search(sentence) else 0.0
        scores.append(score + (1.0 if i in (0, len(found) - 1) else 0.0))
    return scores
