"""Metrics of answers against reference answers."""

from __future__ import annotations

import re
import string
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import Definition, Metric, MetricError, Need

__all__ = ["AnswerMetric", "ExactMatch", "RougeL", "TokenF1", "normalise"]

Floats = NDArray[np.float64]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORDS = re.compile(r"[^\W_]+")
_UNANSWERABLE = "a query without references is unanswerable, and its only right answer is the empty one"


def normalise(text: str) -> str:
    """Return `text` as SQuAD's evaluation compares it.

    Lower case, without ASCII punctuation, without the articles a, an and the, single spaces (Rajpurkar et
    al., SQuAD, EMNLP 2016, evaluation script).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


@dataclass(frozen=True)
class AnswerMetric(Metric):
    """A metric of predicted answers.

    Attributes
    ----------
    context : tuple of str
        What `score` needs beside answers and references and an evaluation hands over by name: ``contexts`` (the
        passages of the prompt), ``context_ids`` (their documents), ``reference_contexts`` (texts that hold the
        answer), ``reference_ids`` (relevant documents).
    """

    needs: ClassVar[Need] = "answers"
    context: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Score each prediction; the best of its references counts.

        Parameters
        ----------
        predictions : Sequence of str
            One answer for each query.
        references : Sequence of Sequence of str
            Right answers for each query; none when the query is unanswerable.
        **context
            What else the metric needs; other names are ignored, so that one call serves all metrics.

        Returns
        -------
        NDArray[float64], shape (queries,)

        Raises
        ------
        MetricError
            If lengths differ, an input is not text, or context is missing.
        """


@dataclass(frozen=True)
class _Overlap(AnswerMetric):
    """The best of a pairwise score over the references."""

    @abstractmethod
    def pair(self, prediction: str, reference: str) -> float:
        """Score one prediction against one reference."""

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Return the best score over the references of each query; see `AnswerMetric.score`."""
        check_answers(self, predictions, references)
        return np.array(
            [
                max(self.pair(prediction, reference) for reference in (right or [""]))
                for prediction, right in zip(predictions, references, strict=True)
            ],
            dtype=np.float64,
        )


@dataclass(frozen=True)
class ExactMatch(_Overlap):
    """Whether the answer equals a reference after SQuAD's normalisation."""

    definition: ClassVar[Definition] = Definition(
        formula="1 when normalise(answer) equals normalise(reference) for one of the references, else 0",
        source="Rajpurkar et al., SQuAD, EMNLP 2016; unanswerable questions: Rajpurkar et al., ACL 2018",
        denominator="queries",
        empty=_UNANSWERABLE,
    )

    def pair(self, prediction: str, reference: str) -> float:
        """Return 1 for equal texts, else 0."""
        return float(normalise(prediction) == normalise(reference))


@dataclass(frozen=True)
class TokenF1(_Overlap):
    """Harmonic mean of precision and recall of the answer's tokens."""

    definition: ClassVar[Definition] = Definition(
        formula="2PR / (P + R) over the multisets of normalised tokens; the best of the references",
        source="Rajpurkar et al., SQuAD, EMNLP 2016; unanswerable questions: Rajpurkar et al., ACL 2018",
        denominator="queries",
        empty=_UNANSWERABLE,
    )

    def pair(self, prediction: str, reference: str) -> float:
        """Return F1 of the token multisets, 1 when both are empty."""
        predicted, right = normalise(prediction).split(), normalise(reference).split()
        if not predicted or not right:
            return float(predicted == right)
        common = sum((Counter(predicted) & Counter(right)).values())
        return 2 * common / (len(predicted) + len(right))


@dataclass(frozen=True)
class RougeL(_Overlap):
    """F measure of the longest common subsequence of words."""

    definition: ClassVar[Definition] = Definition(
        formula="2PR / (P + R), P = LCS / words of the answer, R = LCS / words of the reference; the best of "
        "the references",
        source="Lin, ROUGE, ACL workshop on text summarization 2004 (sentence level, beta = 1)",
        denominator="queries",
        empty=_UNANSWERABLE,
        note="words are runs of letters and digits of any script, in lower case, not stemmed; rouge-score "
        "keeps ASCII only",
    )

    def pair(self, prediction: str, reference: str) -> float:
        """Return ROUGE-L F1 of two texts, 1 when both are empty."""
        predicted, right = _WORDS.findall(prediction.lower()), _WORDS.findall(reference.lower())
        if not predicted or not right:
            return float(predicted == right)
        return 2 * _common_subsequence(predicted, right) / (len(predicted) + len(right))


def check_answers(metric: Metric, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse inputs of different lengths and of other types than text."""
    if len(predictions) != len(references):
        raise MetricError(f"{metric}: {len(predictions)} predictions for {len(references)} lists of references")
    for i, (prediction, right) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise MetricError(f"{metric}: prediction {i} is {type(prediction).__name__}; give text, '' for no answer")
        if isinstance(right, str) or not all(isinstance(reference, str) for reference in right):
            raise MetricError(f"{metric}: references of query {i} must be a list of texts")


def _common_subsequence(first: list[str], second: list[str]) -> int:
    """Return the length of the longest common subsequence, by Hyyrö's bit-parallel recurrence (2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(first) - row.bit_count()
