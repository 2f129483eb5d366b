"""Words of a text, their stems, and what each is worth among the texts around it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from evalkit.memo import remembered

WORD = re.compile(r"[^\W_]+(?:[-.,:/'\N{RIGHT SINGLE QUOTATION MARK}][^\W_]+)*")

_FUNCTION_WORDS = """
    a about above after again all also am an and another any anybody anyone anything are as at away be because
    been before being between both but by can could did do does doing done down during each either else ever
    every for from get gets given go goes got had has have having he her here hers him his how i if in into is
    it its itself just let like many may me might mine more most much must my myself need no nobody none nor
    not now of off on once one only onto or other our ours out over own per please same shall she should so
    some somebody someone something still such take than that the their theirs them then there these they
    thing things this those through till to too under until up us very was we were what whatever when where
    whether which while who whom whose why will with within without would yes yet you your yours
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that say little of a text's subject."""

_ENDINGS = ("ations", "ation", "ings", "ing", "edly", "ied", "ies", "ed", "es", "ly", "s")


@dataclass(frozen=True)
class Token:
    """A word where it stands: ``text[start:end]`` of its sentence; `stem` is empty for a function word."""

    start: int
    end: int
    stem: str


@remembered(200_000)
def stem(word: str) -> str:
    """Return a word without its case, possessive and common endings; different words may share a stem."""
    plain = word.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").removesuffix("'s")
    if any(c.isdigit() for c in plain):
        return plain
    for ending in _ENDINGS:
        if plain.endswith(ending) and len(plain) - len(ending) >= 3:
            plain = plain[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
            break
    if len(plain) > 3 and plain[-1] == plain[-2] and plain[-1] not in "aeiousl":
        plain = plain[:-1]
    return plain.removesuffix("e") if len(plain) > 3 else plain


def tokens(text: str) -> tuple[Token, ...]:
    """Return all words of a text, in order."""
    return tuple(
        Token(m.start(), m.end(), "" if m[0].lower() in FUNCTION_WORDS else stem(m[0])) for m in WORD.finditer(text)
    )


def stems(text: str) -> frozenset[str]:
    """Return the stems of a text's content words."""
    return frozenset(token.stem for token in tokens(text) if token.stem)


def weights(asked: Iterable[str], texts: Collection[Collection[str]]) -> Mapping[str, float]:
    """Return how much each stem tells texts apart: rare ones much, those of every text little; they sum to 1.

    The smoothed inverse document frequency ``log(1 + (n + 0.5) / (df + 0.5))`` over the given `texts`, each a set of
    stems.
    """
    wanted = dict.fromkeys(asked)
    found = Counter(word for text in texts for word in text if word in wanted)
    raw = {word: math.log1p((len(texts) + 0.5) / (found[word] + 0.5)) for word in wanted}
    total = sum(raw.values())
    return {word: value / total for word, value in raw.items()}


def is_identifier(word: str) -> bool:
    """Whether a word mixes letters and digits, as form numbers and error codes do."""
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))
