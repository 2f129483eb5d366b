"""Whether a question can be understood without what was said before it."""

from __future__ import annotations

import re

from evalkit.llm.reading.words import tokens

_GOES_ON = re.compile(r"\W*(?:and|but|or|so|then|also|back to|what (?:about|if|else)|how about|why not)\b", re.I)
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|theirs?|he|him|his|she|hers?|those|these|ones?|there|then|otherwise|instead|either"
    r"|(?:this|that)(?=\W*$|\s+(?:is|are|was|were|will|would|can|could|does|do|did|has|have|mean|cost|work|take)\b)"
    r"|(?:do|does|did|done|for|of|at|to|by|in|on|is|about|before|after) (?:that|this|so))\b",
    re.I,
)
_ANTECEDENT = 4
"""So many content words before a pronoun are likely to hold what it stands for."""


def points_back(question: str) -> bool:
    """Whether a question goes on from an earlier one, points back to it, or is too short to stand alone."""
    content = [token.start for token in tokens(question) if token.stem]
    if len(content) < 3 or _GOES_ON.match(question):
        return True
    found = _POINTS_BACK.search(question)
    return found is not None and sum(start < found.start() for start in content) < _ANTECEDENT
