"""Routers as scores: what speaks for asking the strong model, question by question.

A score is compared with one threshold, so a router is a curve. A router looks at the question; a cascade lets the
weak model answer first and looks at that answer, so that what it escalates costs both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.memo import remembered
from evalkit.serving.checks import AnswerCheck, LikelyRight, NoRefusal, NotEmpty
from evalkit.serving.routers.judged import Encoder, JudgedAnswer, WrongAnswers, facts_of
from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.serving.routing.base import OWN
from evalkit.serving.routing.classifier import Classifier, Example
from evalkit.serving.routing.learning import Classify, Labelled, Learn, Method
from evalkit.serving.routing.rules import COMPLEXITY, Match, When
from evalkit.stages import SentenceTransformer
from evalkit.types import Embedder
from evalkit.values import Answer, Prompt, Vectors

Known = NDArray[np.bool_]


@runtime_checkable
class RouterScore(Protocol):
    """A router, or a cascade, on recorded outcomes of a weak and a strong model.

    Attributes
    ----------
    cascade : bool
        Whether the weak model answers first, and is paid, whatever comes then.
    """

    @property
    def cascade(self) -> bool:
        """Whether the weak model always answers first."""

    def scores(self, outcomes: RecordedOutcomes, known: Known) -> Array:
        """Return what speaks for the strong model, float64 of shape (n,).

        Parameters
        ----------
        outcomes : RecordedOutcomes
            Of the two models.
        known : bool array of shape (n,)
            Where outcomes may be looked at. The score of a known prompt is made without its own outcome too, so that
            a threshold can be chosen on it.
        """


@dataclass(frozen=True)
class GivenScores:
    """Scores from elsewhere: a trained model of one's own.

    Parameters
    ----------
    values : tuple of float
        One a prompt, in the outcomes' order, made without their outcomes.
    cascade : bool
        Whether the weak model always answers first.
    """

    values: tuple[float, ...]
    cascade: bool = False

    def scores(self, outcomes: RecordedOutcomes, known: Known) -> Array:
        """Return them."""
        if len(self.values) != len(outcomes):
            raise InputError(f"GivenScores: {len(self.values)} scores for {len(outcomes)} prompts; give one each")
        return np.array(self.values, dtype=np.float64)


@dataclass(frozen=True)
class WordTiers:
    """`WordRules` as a score: the tier's place.

    Parameters
    ----------
    rules : tuple of When
        As for `WordRules`. A question that none fits is above all tiers: it goes the service's own way.
    tiers : tuple of str
        The routes, from that of the easiest questions on.
    """

    rules: tuple[When, ...] = COMPLEXITY
    tiers: tuple[str, ...] = ("simple", "medium", "complex")

    cascade: ClassVar[Literal[False]] = False

    def __post_init__(self) -> None:
        lost = [rule.route for rule in self.rules if rule.route not in (*self.tiers, OWN)]
        if lost or len(set(self.tiers)) < len(self.tiers):
            raise InputError(f"WordTiers: tiers are {', '.join(self.tiers)}; name every route of the rules once")

    def scores(self, outcomes: RecordedOutcomes, known: Known) -> Array:
        """Return each question's tier, from 0 on."""
        place = {name: float(i) for i, name in enumerate(self.tiers)} | {OWN: float(len(self.tiers))}
        names = Match(self.rules)(Labelled(outcomes.prompts)()).name
        return np.array([place[name] for name in names])


@dataclass(frozen=True)
class StrongNeeded:
    """`Classifier` as a score: the estimated probability that only the strong model answers rightly.

    Parameters
    ----------
    method : {"logistic", "centroid"}
    c : float
        As for `Classifier`.
    embedder : Embedder
        Of the questions.
    folds : int
        Known prompts are scored by what was learnt from the others, in so many parts.
    seed : int
        Of the parts.
    """

    method: Method = "logistic"
    c: float = 1.0
    embedder: Embedder = field(default_factory=SentenceTransformer)
    folds: int = 5
    seed: int = 0

    cascade: ClassVar[Literal[False]] = False

    def __post_init__(self) -> None:
        _check_folds(self)

    def scores(self, outcomes: RecordedOutcomes, known: Known) -> Array:
        """Return each question's score."""
        vectors, labels = _embedded(self.embedder, outcomes.prompts), needed(outcomes)

        def learn(rows: Array, asked: Array) -> Array:
            learnt = Learn(tuple(labels[i] for i in rows), self.method, float(self.c))(Vectors(vectors[rows]))
            return _classify(self.method).scores(learnt, Vectors(vectors[asked]))[:, _STRONG]

        return _out_of_fold(self, outcomes, known, np.array([label == "strong" for label in labels]), learn)

    def rule(self, outcomes: RecordedOutcomes, known: Known, threshold: float) -> Classifier:
        """Return the rule that serves so: `Router` asks the route ``strong`` from the threshold on."""
        labels = needed(outcomes)
        examples = tuple(Example(outcomes.prompts[i], labels[i]) for i in np.flatnonzero(known))
        at_least = min(max(threshold, -1.0), 1.0)
        return Classifier(examples, self.method, self.c, at_least, prefer="strong", embedder=self.embedder)


@dataclass(frozen=True)
class AnswerChecks:
    """A cascade by checks that are there: an answer of the weak model that one of them faults is escalated.

    Parameters
    ----------
    checks : tuple of AnswerCheck
        As for `Cascade`.
    """

    checks: tuple[AnswerCheck, ...] = (NotEmpty(), NoRefusal())

    cascade: ClassVar[Literal[True]] = True

    def scores(self, outcomes: RecordedOutcomes, known: Known) -> Array:
        """Return 1 for an answer with a fault, else 0."""
        given = outcomes.passages if outcomes.passages else ((),) * len(outcomes)
        found = []
        for text, row, passages in zip(outcomes.prompts, outcomes.answers, given, strict=True):
            prompt, answer = Prompt(text, ("",) * len(passages), passages, ()), Answer(row[0])
            found.append(float(any(check.fault(answer, prompt) for check in self.checks)))
        return np.array(found)


@dataclass(frozen=True)
class AnswerWrong:
    """A cascade by `LikelyRight`: the estimated probability that the weak model's answer is wrong.

    Parameters
    ----------
    embedder : Encoder or None
        Of the answers; None: their form alone.
    c : float
        As for `LikelyRight`.
    folds : int
        Known prompts are scored by what was learnt from the others, in so many parts.
    seed : int
        Of the parts.
    """

    embedder: Encoder | None = None
    c: float = 0.1
    folds: int = 5
    seed: int = 0

    cascade: ClassVar[Literal[True]] = True

    def __post_init__(self) -> None:
        _check_folds(self)

    def scores(self, outcomes: RecordedOutcomes, known: Known) -> Array:
        """Return each answer's score."""
        texts = tuple(row[0] for row in outcomes.answers)
        form, right = facts_of(outcomes.prompts, texts), outcomes.right[:, 0]
        vectors = None if self.embedder is None else _encoded(self.embedder, texts)

        def learn(rows: Array, asked: Array) -> Array:
            of = [None if vectors is None else vectors[some] for some in (rows, asked)]
            return WrongAnswers.learn(form[rows], of[0], right[rows].tolist(), self.c).chance(form[asked], of[1])

        return _out_of_fold(self, outcomes, known, right, learn)

    def check(self, outcomes: RecordedOutcomes, known: Known, threshold: float) -> LikelyRight:
        """Return the check that serves so, in a `Cascade`."""
        right = outcomes.right[:, 0]
        examples = tuple(
            JudgedAnswer(outcomes.prompts[i], outcomes.answers[i][0], bool(right[i])) for i in np.flatnonzero(known)
        )
        return LikelyRight(examples, min(max(threshold, 0.0), 1.0), self.embedder, self.c)


_STRONG = 0
"""Place of ``strong`` among the labels in their order."""


def needed(outcomes: RecordedOutcomes) -> list[str]:
    """Return ``strong`` for each prompt that only the strong model answers rightly, ``weak`` for the others."""
    right = outcomes.right
    return ["strong" if strong and not weak else "weak" for weak, strong in right.tolist()]


def _classify(method: Method) -> Classify:
    return Classify(("strong", "weak"), method, -1.0, "")


def _check_folds(router: StrongNeeded | AnswerWrong) -> None:
    name = type(router).__name__
    if router.folds < 2 or not router.c > 0:
        raise InputError(f"{name}: folds is {router.folds}, c {router.c}; give at least 2 folds and a c above 0")


@remembered(4)
def _embedded(embedder: Embedder, texts: tuple[str, ...]) -> Array:
    return np.asarray(embedder(Labelled(texts)()).values)


@remembered(4)
def _encoded(embedder: Encoder, texts: tuple[str, ...]) -> Array:
    return np.asarray(embedder.encode(list(texts)))


def _out_of_fold(
    router: StrongNeeded | AnswerWrong,
    outcomes: RecordedOutcomes,
    known: Known,
    labels: NDArray[np.bool_],
    learn: Callable[[Array, Array], Array],
) -> Array:
    """Return scores of all: of new prompts by what all known ones teach, of known ones by what the others do."""
    found = np.zeros(len(outcomes))
    parts = outcomes.parts(router.folds, router.seed, "fold")
    tasks = [(known, ~known), *((known & (parts != i), known & (parts == i)) for i in range(router.folds))]
    for taught, asked in tasks:
        if len(set(labels[taught].tolist())) < 2:
            raise InputError(
                f"{type(router).__name__}: {int(taught.sum())} prompts to learn from are all of one kind; give more"
            )
        if asked.any():
            found[asked] = learn(np.flatnonzero(taught), np.flatnonzero(asked))
    return found
