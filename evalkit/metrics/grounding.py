"""Answers beside their meaning, their context and the right to refuse."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.answers import AnswerMetric, check_answers, normalise
from evalkit.metrics.base import Definition, MetricError
from evalkit.metrics.checks import check_choice, check_cutoff

__all__ = ["REFUSALS", "Refusal", "SemanticSimilarity", "Supported"]

Floats = NDArray[np.float64]
Embed = Callable[[Sequence[str]], NDArray[Any]]

REFUSALS = (
    r"\b(do not|don't|cannot|can't|could not|couldn't|unable to) (know|answer|find|determine|say)\b",
    r"\b(no|not enough|insufficient) (relevant |sufficient |enough )?(information|context|evidence)\b",
    r"\b(is|are) not (mentioned|stated|provided|given|specified|answerable)\b",
    r"\b(does not|doesn't|do not|don't) (contain|mention|provide|say|state|specify|include)\b",
    r"\b(unanswerable|no answer)\b",
)


@dataclass(frozen=True)
class SemanticSimilarity(AnswerMetric):
    """Cosine similarity of the embeddings of answer and reference."""

    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    definition: ClassVar[Definition] = Definition(
        formula="cos(embed(answer), embed(reference)) in float64, exactly 1 for equal texts; the best of the "
        "references",
        source="Risch et al., Semantic answer similarity for evaluating question answering models, MRQA 2021 "
        "(bi-encoder form)",
        denominator="queries",
        empty="an empty answer scores 0; a query without references scores 1 if the answer is empty, else 0",
        note="the value depends on the embedding model, which is passed as embed=",
    )

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Return the best similarity over the references of each query; see `AnswerMetric.score`.

        Parameters
        ----------
        predictions, references
            As for `AnswerMetric.score`.
        **context
            ``embed``: a function of a list of texts that returns one vector for each, shape (texts, d). It is
            called once, with the distinct texts in order of appearance.

        Raises
        ------
        MetricError
            If `embed` is missing or does not return one finite vector, not zero, for each text.
        """
        check_answers(self, predictions, references)
        embed: Embed | None = context.get("embed")
        if embed is None:
            raise MetricError(f"{self}: no embedding function; pass embed=")
        pairs = [
            (row, answer, right)
            for row, (answer, rights) in enumerate(zip(predictions, references, strict=True))
            for right in (rights or [""])
        ]
        texts = list(dict.fromkeys(t for _, a, r in pairs if a != r and a and r for t in (a, r)))
        place = {text: i for i, text in enumerate(texts)}
        vectors = _unit(self, embed(texts), len(texts)) if texts else np.zeros((0, 1))
        best = np.full(len(predictions), -1.0)
        for row, answer, right in pairs:
            if answer == right:
                value = 1.0
            elif not answer or not right:
                value = 0.0
            else:
                value = float(np.clip(np.dot(vectors[place[answer]], vectors[place[right]]), -1.0, 1.0))
            best[row] = max(best[row], value)
        return best


@dataclass(frozen=True)
class Supported(AnswerMetric):
    """Share of the answer that its context supports word for word.

    Parameters
    ----------
    ngram : int
        Words that must stand together in the context; 1 asks for each word alone.
    """

    ngram: int = 1

    context: ClassVar[tuple[str, ...]] = ("contexts",)
    definition: ClassVar[Definition] = Definition(
        formula="n-grams of the normalised answer that occur in its context / n-grams of the answer",
        source="Adlakha et al., Evaluating correctness and faithfulness of instruction-following models for "
        "question answering, TACL 2024 (K-Precision, n = 1)",
        denominator="n-grams of the answer; an answer shorter than n counts as one",
        empty="an empty answer claims nothing and scores 1",
        note="lexical: paraphrase counts as unsupported, a negation of the context as supported",
    )

    def __post_init__(self) -> None:
        check_cutoff(self, self.ngram, "ngram")

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Return the supported share of each answer; references are not used. See `AnswerMetric.score`.

        Parameters
        ----------
        predictions, references
            As for `AnswerMetric.score`.
        **context
            ``contexts``: for each query, the list of passages that the answer was made from.

        Raises
        ------
        MetricError
            If `contexts` is missing or has another length.
        """
        check_answers(self, predictions, references)
        contexts: Sequence[Sequence[str]] | None = context.get("contexts")
        if contexts is None or len(contexts) != len(predictions):
            found = "none" if contexts is None else len(contexts)
            raise MetricError(f"{self}: {found} contexts for {len(predictions)} answers; pass contexts=")
        return np.array(
            [self._share(answer, passages) for answer, passages in zip(predictions, contexts, strict=True)],
            dtype=np.float64,
        )

    def _share(self, answer: str, passages: Sequence[str]) -> float:
        words = normalise(answer).split()
        if not words:
            return 1.0
        size = min(self.ngram, len(words))
        known = {gram for passage in passages for gram in _grams(normalise(passage).split(), size)}
        grams = _grams(words, size)
        return sum(gram in known for gram in grams) / len(grams)


@dataclass(frozen=True)
class Refusal(AnswerMetric):
    """Whether the system refuses what it cannot answer.

    Parameters
    ----------
    on : {"unanswerable", "all"}
        Score unanswerable queries only (others are nan: leave them out of the mean), or whether the decision
        to refuse is right on every query.
    """

    on: str = "unanswerable"
    definition: ClassVar[Definition] = Definition(
        formula='1 when the answer refuses an unanswerable query; with on="all" also 1 when it does not '
        "refuse an answerable one; else 0",
        source="Rajpurkar et al., Know what you don't know, ACL 2018 (unanswerable questions)",
        denominator='queries without references; with on="all", all queries',
        empty="an empty answer is a refusal; an answerable query is nan, outside the mean",
        note="a refusal is recognised by the English phrases in REFUSALS within its first 200 characters, or "
        "by refuses=, a function of the answer",
    )

    def __post_init__(self) -> None:
        check_choice(self, "on", ("unanswerable", "all"))

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Return 1, 0 or nan (not applicable) for each query; see `AnswerMetric.score`.

        Parameters
        ----------
        predictions, references
            As for `AnswerMetric.score`; a query without references is unanswerable.
        **context
            ``refuses``: a function of an answer that says whether it refuses, in place of the phrases.
        """
        check_answers(self, predictions, references)
        refuses: Callable[[str], bool] = context.get("refuses") or _refuses
        answerable = np.array([bool(len(right)) for right in references], dtype=np.bool_)
        refused = np.array([refuses(answer) for answer in predictions], dtype=np.bool_)
        right = (refused != answerable).astype(np.float64)
        return right if self.on == "all" else np.where(answerable, np.nan, right)


def _refuses(answer: str) -> bool:
    head = answer.strip()[:200].lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return not head or any(re.search(phrase, head) for phrase in REFUSALS)


def _grams(words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def _unit(metric: SemanticSimilarity, vectors: Any, count: int) -> Floats:
    """Return float64 vectors of length 1."""
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != count:
        raise MetricError(f"{metric}: embed returned shape {array.shape} for {count} texts; one row for each")
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise MetricError(f"{metric}: embed returned a vector that is zero or not finite")
    unit: Floats = array / norms
    return unit
