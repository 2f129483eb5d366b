"""Whether an answer will do, by what can be seen of it: no model judges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from evalkit.errors import InputError
from evalkit.llm.reading.words import stems
from evalkit.metrics.grounding import REFUSALS
from evalkit.values import Answer, Prompt

_HEAD = 200
"""Characters within which a refusal is looked for, as the metric `Refusal` does."""


class Check(Protocol):
    """Looks at an answer and says why it will not do: a value, as a spec writes it."""

    def lacks(self, answer: Answer, prompt: Prompt) -> str:
        """Return a few words, the same for equal causes, or nothing where the answer will do."""


@dataclass(frozen=True)
class Confident:
    """An answer will do if it does not refuse, cites, is long enough and rests on the passages.

    Parameters
    ----------
    answers : bool
        It must not be a refusal: no text, or one of the metric `Refusal`'s phrases at its beginning.
    cited : int
        Documents that it must cite at least, where the prompt has passages.
    words : int
        That it must have at least.
    grounded : float
        Share of its words' stems, function words apart, that must stand in the passages, from 0 (no demand) to 1
        (all). An answer without such words has share 1; with no passage in the prompt nothing is demanded.
    """

    answers: bool = True
    cited: int = 0
    words: int = 0
    grounded: float = 0.0

    def __post_init__(self) -> None:
        if min(self.cited, self.words) < 0 or not 0 <= self.grounded <= 1:
            raise InputError(
                f"Confident: cited {self.cited}, words {self.words} and grounded {self.grounded} do not fit; "
                "the first two are at least 0, the last is from 0 to 1"
            )

    def lacks(self, answer: Answer, prompt: Prompt) -> str:
        """Return the first demand that is not met."""
        if self.answers and refuses(answer.text):
            return "refuses"
        if prompt.passages and len(set(answer.cited)) < self.cited:
            return "cites too little"
        if len(re.findall(r"\w+", answer.text)) < self.words:
            return "too short"
        if prompt.passages and overlap(answer.text, prompt) < self.grounded:
            return "not grounded"
        return ""


def refuses(text: str) -> bool:
    """Whether an answer is none."""
    head = text.strip()[:_HEAD].casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return not head or any(re.search(phrase, head) for phrase in REFUSALS)


def overlap(text: str, prompt: Prompt) -> float:
    """Return the share of a text's word stems that stand in a prompt's passages or their titles."""
    said = stems(text)
    there = stems(" ".join((*prompt.titles, *prompt.passages)))
    return len(said & there) / len(said) if said else 1.0
