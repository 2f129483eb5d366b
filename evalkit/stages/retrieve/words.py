"""Words of a query that say nothing of what it is about."""

from __future__ import annotations

import re

QUESTION = frozenset(("how", "what", "when", "where", "which", "who", "whom", "whose", "why"))
"""Words that begin a question."""

ASKING = frozenset(("could", "may", "might", "must", "please", "shall", "tell", "would"))
"""Words of asking that lists of stop words lack."""

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")


def spoken(text: str) -> list[str]:
    """Return the words of a text as they stand there; apostrophes and hyphens within a word are part of it."""
    return _WORD.findall(text)


def bare(word: str) -> str:
    """Return a word in lower case, without what an apostrophe adds to it: ``What's`` is ``what``."""
    return re.split("['\u2019]", word.lower(), maxsplit=1)[0]
