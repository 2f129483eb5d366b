"""How many tokens a text is for a Claude model: an estimate, for what is simulated or planned.

Claude's tokenizer is known only through its API (``count_tokens``), so whatever rests on this is `modelled`.
"""

from __future__ import annotations

import math
import re

_CHARACTERS = 3.5
"""Of English text to a token (Anthropic, glossary, "Tokens")."""

_NEWER = 1.3
"""What the tokenizer that came with Opus 4.7 counts of the one before, about, for the same text (Anthropic)."""

_OLD = re.compile(r"claude-(?:opus-4-[0-6]|sonnet-4|haiku-4|3|2|instant)\b")


def estimate_tokens(text: str, model: str = "") -> int:
    """Return the estimated tokens of a text, 0 for an empty one; a model that is not known counts as a new one."""
    factor = 1.0 if _OLD.match(model) else _NEWER
    return math.ceil(len(text) / _CHARACTERS * factor)


def at_most_tokens(text: str) -> int:
    """Return a bound: no tokenizer that works on bytes makes more tokens than a text has bytes in UTF-8."""
    return len(text.encode())
