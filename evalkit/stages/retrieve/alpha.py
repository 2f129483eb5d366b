"""Weights of the two sides of a hybrid that differ from query to query."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.stages.retrieve.features import QueryFeatures, described
from evalkit.stages.retrieve.fusing import Weights
from evalkit.stages.retrieve.words import bare, spoken
from evalkit.types import Node
from evalkit.values import Queries


@runtime_checkable
class Alpha(Protocol):
    """Gives every query the weight of the dense side: expands into nodes."""

    def alphas(self, chunks: Node, query: Node) -> Node:
        """Return the node whose result is `Weights`, one a query."""


@dataclass(frozen=True)
class AdaptiveAlpha:
    """A rule of thumb from the form of the question; the first line that fits decides.

    1. at most `few` words (between blanks): `short`
    2. ``what``, ``how``, ``why``, ``when`` or ``where`` among the words: `question`
    3. more than `many` words: `long`
    4. else `other`

    So a long question that holds a question word counts as a question. Question words are whole words here: the
    source looks for them anywhere in the text, where ``show`` holds ``how``.

    Parameters
    ----------
    short, question, long, other : float
        Weight of the dense side in each case.
    few, many : int
        A query of at most `few` words is short, one of more than `many` is long.

    References
    ----------
    The adaptive alpha of the roadmap among the founding documents.
    """

    short: float = 0.4
    question: float = 0.6
    long: float = 0.8
    other: float = 0.7
    few: int = 3
    many: int = 10

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not all(0 <= alpha <= 1 for alpha in (self.short, self.question, self.long, self.other)):
            raise InputError("AdaptiveAlpha: short, question, long and other must be from 0 to 1")
        if not 0 <= self.few <= self.many:
            raise InputError(f"AdaptiveAlpha: few {self.few} and many {self.many} do not fit; 0 <= few <= many")

    def alphas(self, chunks: Node, query: Node) -> Node:
        """Look at the queries alone."""
        return Node(self, (query,))

    def __call__(self, asked: Queries) -> Weights:
        """Weigh every query."""
        return Weights(np.array([self._alpha(text) for text in asked.text], dtype=np.float64))

    def _alpha(self, text: str) -> float:
        count = len(text.split())
        if count <= self.few:
            return self.short
        if not {"what", "how", "why", "when", "where"}.isdisjoint(map(bare, spoken(text))):
            return self.question
        return self.long if count > self.many else self.other


@dataclass(frozen=True)
class LinearAlpha:
    """A weighted sum of features, cut at 0 and 1."""

    base: float
    coefficients: tuple[float, ...]

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, features: QueryFeatures) -> Weights:
        """Weigh every query."""
        return Weights(linear(self.base, self.coefficients, features.values))


def linear(base: float, coefficients: tuple[float, ...], features: Array) -> Array:
    """Return ``base + coefficients · features``, cut at 0 and 1: float64 of shape (n,).

    Summed feature by feature, so that a row does not depend on the others.
    """
    total = np.full(len(features), float(base))
    for coefficient, feature in zip(coefficients, features.T, strict=True):
        total += coefficient * feature
    return np.asarray(np.clip(total, 0.0, 1.0), dtype=np.float64)


@dataclass(frozen=True)
class LearntAlpha:
    """A weight that was learnt from judged queries: `base` and what each feature of the query adds to it.

    The sum is cut at 0 and 1. Every feature is from 0 to 1, so a coefficient is the change from none of it to all.
    `fit_alpha` makes one from development queries; the defaults are a constant.

    Parameters
    ----------
    base : float
        Weight of the dense side for a query without any of the features.
    length : float
        Words, up to 20, over 20.
    rare : float
        Share of the words, stemmed and without stop words, that occur in some chunk but in no more than one in a
        hundred (or in one, of a small corpus).
    unknown : float
        Share of these words that no chunk has.
    question : float
        Whether there is a question word (how, what, when, where, which, who, whom, whose, why).
    names : float
        Share of the words with a digit or a capital after the first letter: codes, dates, abbreviations.
    """

    base: float = 0.7
    length: float = 0.0
    rare: float = 0.0
    unknown: float = 0.0
    question: float = 0.0
    names: float = 0.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise InputError(f"LearntAlpha: {astuple(self)} do not fit; coefficients are finite numbers")

    def alphas(self, chunks: Node, query: Node) -> Node:
        """Describe the queries, weigh the features: all coefficients share one description."""
        base, *coefficients = map(float, astuple(self))
        return Node(LinearAlpha(base, tuple(coefficients)), (described(chunks, query),))
