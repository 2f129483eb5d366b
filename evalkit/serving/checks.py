"""Whether an answer will do, by what can be seen of it: no model judges.

Everything in ``__all__`` can be named in a spec.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from evalkit.errors import InputError
from evalkit.llm.reading.words import stems
from evalkit.metrics.grounding import Refusal, Supported
from evalkit.serving.routers.judged import EXAMPLES, Encoder, JudgedAnswer, JudgedFile, WrongAnswers, facts_of
from evalkit.values import Answer, Answers, Prompt, Prompts

__all__ = ["Cites", "Grounded", "JudgedAnswer", "JudgedFile", "LikelyRight", "NoRefusal", "NotEmpty"]


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


@dataclass(frozen=True)
class LikelyRight:
    """The answer looks like those that were right, by a logistic regression on judged answers.

    It sees the answer's form (`evalkit.serving.routers.facts`: lengths, numbers, whether its sums hold, whether it
    breaks off) and, where an embedder is named, its embedding. It learns when it is first asked, from the examples
    alone. Without an embedder it takes some 50 microseconds; what an embedder takes is stated nowhere: a replay's
    clock does not see it.

    Parameters
    ----------
    examples : tuple of JudgedAnswer, or JudgedFile
        Right ones and wrong ones, of the model whose answers are checked. Default: a beginning.
    threshold : float
        Probability of being wrong from which an answer does not pass. 0: none passes.
    embedder : Encoder or None
        None: the form alone.
    c : float
        Of the regression: the weight of the examples against the penalty.

    References
    ----------
    Chen, Zaharia and Zou, *FrugalGPT*, TMLR 2024, where a small model scores answers so.
    """

    examples: tuple[JudgedAnswer, ...] | JudgedFile = EXAMPLES
    threshold: float = 0.5
    embedder: Encoder | None = None
    c: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InputError(f"LikelyRight: threshold is {self.threshold}; a probability lies between 0 and 1")
        if not self.c > 0:
            raise InputError(f"LikelyRight: c is {self.c}; it must be above 0")
        if len({example.right for example in self.known}) < 2:
            raise InputError("LikelyRight: examples of one kind; right ones and wrong ones are needed")

    @property
    def known(self) -> tuple[JudgedAnswer, ...]:
        """The examples, read."""
        return self.examples.examples if isinstance(self.examples, JudgedFile) else self.examples

    @cached_property
    def _learnt(self) -> WrongAnswers:
        questions, texts = [one.question for one in self.known], [one.text for one in self.known]
        vectors = None if self.embedder is None else self.embedder.encode(texts)
        return WrongAnswers.learn(facts_of(questions, texts), vectors, [one.right for one in self.known], self.c)

    def wrong(self, answer: Answer, prompt: Prompt) -> float:
        """Return the estimated probability that an answer is wrong."""
        vectors = None if self.embedder is None else self.embedder.encode([answer.text])
        return float(self._learnt.chance(facts_of([prompt.question], [answer.text]), vectors)[0])

    def fault(self, answer: Answer, prompt: Prompt) -> str:
        """Return ``likely wrong`` or nothing."""
        return "likely wrong" if self.wrong(answer, prompt) >= self.threshold else ""


def overlap(text: str, prompt: Prompt) -> float:
    """Return the share of a text's word stems that stand in a prompt's passages or their titles."""
    said = stems(text)
    there = stems(" ".join((*prompt.titles, *prompt.passages)))
    return len(said & there) / len(said) if said else 1.0


def failing(checks: Sequence[AnswerCheck], answers: Answers, prompts: Prompts) -> str:
    """Return what the first check that fails says of the only row of a table of answers; nothing where all pass."""
    answer, prompt = Answer(answers.text[0], tuple(answers.cited[0]), answers.made()[0]), Prompt.rows(prompts)[0]
    return next((fault for check in checks if (fault := check.fault(answer, prompt))), "")
