"""Answers that were judged, and what is learnt from them: how likely another answer is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.serving.routers.facts import facts
from evalkit.serving.routing.files import JSONLinesFile
from evalkit.serving.routing.learning import Classify, Learn, Linear
from evalkit.values import Vectors

_NAMES = ("right", "wrong")


class Encoder(Protocol):
    """What is needed of an embedding model."""

    def encode(self, texts: list[str]) -> Array:
        """Return unit vectors: float32 of shape (n, d)."""


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer, and whether it was right.

    Parameters
    ----------
    question, text : str
    right : bool
    """

    question: str
    text: str
    right: bool


EXAMPLES = (
    JudgedAnswer("How many eggs are 3 boxes of 12?", "3 boxes of 12 are 3 * 12 = 36 eggs.", True),
    JudgedAnswer("What is left of 50 euros after 3 books at 9 euros?", "The books cost 3 * 9 = 27 euros.\n"
                 "50 - 27 = 23 euros are left.", True),
    JudgedAnswer("When does the pool open on Sundays?", "On Sundays the pool opens at 10.", True),
    JudgedAnswer("How many eggs are 4 boxes of 12?", "4 boxes of 12 are 4 * 12 = 36 eggs.", False),
    JudgedAnswer("What is left of 60 euros after 2 books at 9 euros?", "The books cost 2 * 9 = 18 euros, so", False),
    JudgedAnswer("When does the pool open on Mondays?", "It depends on", False),
)  # fmt: skip
"""Sums that hold, and answers that break off: a beginning, to be replaced by answers of one's own."""


@dataclass(frozen=True)
class JudgedFile(JSONLinesFile[JudgedAnswer]):
    """Judged answers in a file of JSON Lines with ``question``, ``text`` and ``right`` (true or false)."""

    wanted: ClassVar[str] = "no answer with question, text and right, true or false"

    @staticmethod
    def example(row: Mapping[str, Any]) -> JudgedAnswer:
        """Return the judged answer that a line states."""
        question, text, right = row["question"], row["text"], row["right"]
        if not (isinstance(question, str) and isinstance(text, str) and isinstance(right, bool)):
            raise TypeError
        return JudgedAnswer(question, text, right)


@dataclass(frozen=True, eq=False)
class WrongAnswers:
    """A logistic regression on an answer's facts and, where there is one, its embedding.

    Parameters
    ----------
    means, spreads : float64 arrays of shape (facts,)
        Of the examples' facts, which are scaled by them.
    learnt : Linear
        As `evalkit.serving.routing.learning` learns it.
    """

    means: Array
    spreads: Array
    learnt: Linear

    @classmethod
    def learn(cls, known: Array, vectors: Array | None, right: Sequence[bool], c: float) -> WrongAnswers:
        """Learn from judged answers.

        Parameters
        ----------
        known : float64 array of shape (n, facts)
        vectors : array of shape (n, d) or None
        right : sequence of bool
            Both values occur.
        c : float
            Weight of the examples against the L2 penalty.
        """
        means, spreads = known.mean(axis=0), known.std(axis=0)
        spreads = np.where(spreads > 0, spreads, 1.0)
        inputs = _inputs((known - means) / spreads, vectors)
        labels = tuple(_NAMES[not one] for one in right)
        return cls(means, spreads, Learn(labels, "logistic", c)(inputs))

    def chance(self, of: Array, vectors: Array | None) -> Array:
        """Return the estimated probability that answers are wrong: float64 of shape (n,), row by row to the bit."""
        inputs = _inputs((of - self.means) / self.spreads, vectors)
        found: Array = Classify(_NAMES, "logistic", -1.0, "").scores(self.learnt, inputs)[:, 1]
        return found


def _inputs(scaled: Array, vectors: Array | None) -> Vectors:
    return Vectors(scaled if vectors is None else np.concatenate([scaled, vectors.astype(np.float64)], axis=1))


def facts_of(questions: Sequence[str], answers: Sequence[str]) -> Array:
    """Return the facts of answers: float64 of shape (n, facts)."""
    return np.array([facts(q, a) for q, a in zip(questions, answers, strict=True)], dtype=np.float64)
