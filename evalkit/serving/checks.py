"""Whether an answer will do, by what can be seen of it: no model judges.

Everything in ``__all__`` can be named in a spec.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from evalkit.errors import InputError
from evalkit.llm.reading.words import stems
from evalkit.metrics.grounding import Refusal, Supported
from evalkit.values import Answer, Answers, Prompt, Prompts

__all__ = ["Cites", "Grounded", "NoRefusal", "NotEmpty"]


class AnswerCheck(Protocol):
    """What an answer must hold to."""

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return what is wrong, in a few words that are the same for equal faults; empty: nothing."""


@dataclass(frozen=True)
class NotEmpty:
    """The answer says something.

    Parameters
    ----------
    characters : int
        At least so many, white space at the ends not counted.
    words : int
        At least so many.
    """

    characters: int = 1
    words: int = 0

    def __post_init__(self) -> None:
        if self.characters < 1 or self.words < 0:
            raise InputError(
                f"NotEmpty: give at least 1 character and at least 0 words, not {self.characters} and {self.words}"
            )

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``empty``, ``too short`` or nothing."""
        length = len(answer.text.strip())
        if not length:
            return "empty"
        short = length < self.characters or len(re.findall(r"\w+", answer.text)) < self.words
        return "too short" if short else ""


@dataclass(frozen=True)
class Cites:
    """The answer cites sources that its prompt held. An answer to a prompt without passages need not.

    Parameters
    ----------
    sources : int
        At least so many, or all that the prompt held if they are fewer.
    """

    sources: int = 1

    def __post_init__(self) -> None:
        if self.sources < 1:
            raise InputError(f"Cites: sources is {self.sources}; give 1 or more")

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``cites what it was not given``, ``cites too little`` or nothing."""
        given, cited = set(prompt.sources), set(answer.cited)
        if cited - given:
            return "cites what it was not given"
        return "" if len(cited) >= min(self.sources, len(given)) else "cites too little"


@dataclass(frozen=True)
class NoRefusal:
    """The answer does not say that there is none, by the phrases in `evalkit.metrics.grounding.REFUSALS`."""

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``refuses`` or nothing."""
        return "" if Refusal(on="all").score([answer.text], [["an answer"]])[0] else "refuses"


@dataclass(frozen=True)
class Grounded:
    """The answer's words stand in its passages. Who refuses claims nothing and passes.

    Parameters
    ----------
    share : float
        Of the answer's n-grams, from 0 to 1.
    ngram : int
        Words that must stand together.
    by : {"words", "stems"}
        words: every word as it is (the metric `Supported`). stems: stems of single words, function words apart, which
        may stand in the passages' titles too; an answer without such words passes, as does one to a prompt without
        passages.
    """

    share: float = 0.5
    ngram: int = 1
    by: Literal["words", "stems"] = "words"

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"Grounded: share is {self.share}; it lies between 0 and 1")
        if self.by not in ("words", "stems") or (self.by == "stems" and self.ngram != 1):
            raise InputError(
                f"Grounded: by is {self.by!r}, ngram {self.ngram}; give 'words', or 'stems' one at a time"
            )
        Supported(self.ngram)

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``not grounded`` or nothing."""
        if self.by == "stems":
            found = overlap(answer.text, prompt) if prompt.passages else 1.0
        else:
            found = Supported(self.ngram).score([answer.text], [[]], contexts=[prompt.passages])[0]
        return "" if found >= self.share or NoRefusal().fault(answer, prompt) else "not grounded"


def overlap(text: str, prompt: Prompt) -> float:
    """Return the share of a text's word stems that stand in a prompt's passages or their titles."""
    said = stems(text)
    there = stems(" ".join((*prompt.titles, *prompt.passages)))
    return len(said & there) / len(said) if said else 1.0


def failing(checks: Sequence[AnswerCheck], answers: Answers, prompts: Prompts) -> str:
    """Return what the first check that fails says of the only row of a table of answers; nothing where all pass."""
    answer, prompt = Answer(answers.text[0], tuple(answers.cited[0]), answers.made()[0]), Prompt.rows(prompts)[0]
    return next((fault for check in checks if (fault := check.fault(answer, prompt))), "")
