"""ragas' metrics of answers that need no model, computed by ragas itself.

Each is called ``Ragas...``, so that a table says who computed what; those with a counterpart here (`ExactMatch`,
`RougeL`) differ from it, as their definitions say. Those of contexts are in `ragas_contexts`, those that a model
judges in `judged`.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.answers import AnswerMetric, check_answers
from evalkit.metrics.base import Definition, MetricError
from evalkit.metrics.checks import check_choice, check_cutoff

__all__ = [
    "RagasBleu", "RagasChrF", "RagasExactMatch", "RagasQuotedSpans", "RagasRouge", "RagasStringPresence",
    "RagasStringSimilarity",
]  # fmt: skip

Floats = NDArray[np.float64]
SOURCE = "ragas 0.4.3, {}; Es et al., RAGAs: Automated evaluation of retrieval augmented generation, EACL 2024"
_UNANSWERABLE = "a query without references is unanswerable, and its only right answer is the empty one"


class MissingPackage(MetricError):
    """A package that a metric needs is not installed. One line: which, and how to get it."""


@cache
def quiet_ragas() -> None:
    """Import ragas without its warnings, its reports to its makers, and the id for them that it keeps on disk."""
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # of what ragas imports in its turn
        importlib.import_module("ragas.metrics.collections")
        reports: Any = importlib.import_module("ragas._analytics")

    reports.do_not_track.cache_clear()
    folder = reports.user_data_dir
    reports.user_data_dir = lambda **names: os.devnull  # an id that cannot be kept is made up, once
    try:
        reports.get_userid()
    finally:
        reports.user_data_dir = folder


@dataclass(frozen=True)
class RagasMetric(AnswerMetric, ABC):
    """A metric that ragas computes, one sample at a time.

    Attributes
    ----------
    package : str
        What it needs beside ragas, as it is imported; empty where nothing.
    """

    package: ClassVar[str] = ""

    def check_package(self) -> None:
        if self.package and find_spec(self.package) is None:
            name = self.package.replace("_", "-")
            raise MissingPackage(f"{self}: ragas needs the package {name} for it; pip install {name}")
        quiet_ragas()


@dataclass(frozen=True)
class _OfAnswers(RagasMetric):
    """The best of ragas' score over the references of a query."""

    @abstractmethod
    def _scorer(self) -> Any:
        """Return ragas' own metric."""

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Return the best score over the references of each query; see `AnswerMetric.score`.

        Raises
        ------
        MetricError
            Also if a package is missing (`MissingPackage`).
        """
        check_answers(self, predictions, references)
        self.check_package()
        asked = [(answer, right) for answer, rights in zip(predictions, references, strict=True) for right in rights]
        pairs = list(dict.fromkeys(asked))

        async def all_pairs(scorer: Any) -> list[float]:
            return [(await scorer.ascore(reference=right, response=answer)).value for answer, right in pairs]

        found = dict(zip(pairs, run_alone(lambda: all_pairs(self._scorer())), strict=True))
        best = [
            max(found[answer, right] for right in rights) if rights else float(not answer)
            for answer, rights in zip(predictions, references, strict=True)
        ]
        return np.clip(np.array(best, dtype=np.float64), *self.range)  # 1 + 4e-16 is 1


@dataclass(frozen=True)
class RagasExactMatch(_OfAnswers):
    """Whether the answer is a reference, letter by letter."""

    definition: ClassVar[Definition] = Definition(
        formula="1 when answer equals reference, else 0; the best of the references",
        source=SOURCE.format("ExactMatch"),
        denominator="queries",
        empty=_UNANSWERABLE,
        note="nothing is normalised: a full stop more is another answer; ExactMatch forgives it",
    )

    def _scorer(self) -> Any:
        from ragas.metrics.collections import ExactMatch

        return ExactMatch()


@dataclass(frozen=True)
class RagasStringPresence(_OfAnswers):
    """Whether the answer holds a reference, letter by letter."""

    definition: ClassVar[Definition] = Definition(
        formula="1 when reference is a part of answer, else 0; the best of the references",
        source=SOURCE.format("StringPresence"),
        denominator="queries",
        empty=_UNANSWERABLE,
        note="an answer that repeats everything holds every reference",
    )

    def _scorer(self) -> Any:
        from ragas.metrics.collections import StringPresence

        return StringPresence()


@dataclass(frozen=True)
class RagasStringSimilarity(_OfAnswers):
    """How alike answer and reference are as strings.

    Parameters
    ----------
    distance : {"levenshtein", "hamming", "jaro", "jaro_winkler"}
    """

    distance: str = "levenshtein"

    package: ClassVar[str] = "rapidfuzz"
    definition: ClassVar[Definition] = Definition(
        formula="1 - distance(answer, reference) / largest possible distance; the best of the references",
        source=SOURCE.format("NonLLMStringSimilarity"),
        denominator="queries",
        empty=_UNANSWERABLE,
        note="needs the package rapidfuzz",
    )

    def __post_init__(self) -> None:
        check_choice(self, "distance", ("levenshtein", "hamming", "jaro", "jaro_winkler"))

    def _scorer(self) -> Any:
        from ragas.metrics.collections import DistanceMeasure, NonLLMStringSimilarity

        return NonLLMStringSimilarity(distance_measure=DistanceMeasure(self.distance))


@dataclass(frozen=True)
class RagasRouge(_OfAnswers):
    """ROUGE as Google's package computes it.

    Parameters
    ----------
    rouge : {"rougeL", "rouge1"}
    mode : {"fmeasure", "precision", "recall"}
    """

    rouge: str = "rougeL"
    mode: str = "fmeasure"

    package: ClassVar[str] = "rouge_score"
    definition: ClassVar[Definition] = Definition(
        formula="ROUGE-L or ROUGE-1 of the stemmed words; the best of the references",
        source=SOURCE.format("RougeScore") + "; Lin, ROUGE, ACL workshop on text summarization 2004",
        denominator="queries",
        empty=_UNANSWERABLE,
        note="keeps ASCII letters and digits only, and stems; RougeL does neither. Needs the package rouge-score",
    )

    def __post_init__(self) -> None:
        check_choice(self, "rouge", ("rougeL", "rouge1"))
        check_choice(self, "mode", ("fmeasure", "precision", "recall"))

    def _scorer(self) -> Any:
        from ragas.metrics.collections import RougeScore

        return RougeScore(rouge_type=self.rouge, mode=self.mode)  # type: ignore[arg-type]


@dataclass(frozen=True)
class RagasChrF(_OfAnswers):
    """F score of character n-grams."""

    package: ClassVar[str] = "sacrebleu"
    definition: ClassVar[Definition] = Definition(
        formula="chrF2 of character n-grams up to 6; the best of the references",
        source=SOURCE.format("CHRFScore") + "; Popović, chrF, WMT 2015",
        denominator="queries",
        empty=_UNANSWERABLE,
        note="needs the package sacrebleu",
    )

    def _scorer(self) -> Any:
        from ragas.metrics.collections import CHRFScore

        return CHRFScore()


@dataclass(frozen=True)
class RagasBleu(_OfAnswers):
    """BLEU, as ragas applies it to single answers."""

    package: ClassVar[str] = "sacrebleu"
    definition: ClassVar[Definition] = Definition(
        formula="corpus BLEU with the answer's sentences as hypotheses; the best of the references",
        source=SOURCE.format("BleuScore") + "; Papineni et al., BLEU, ACL 2002",
        denominator="queries",
        empty=_UNANSWERABLE,
        note="ragas cuts both texts at full stops and takes the reference's sentences for alternatives of the "
        "answer's first one: of little meaning beyond one sentence. Needs the package sacrebleu",
    )

    def _scorer(self) -> Any:
        from ragas.metrics.collections import BleuScore

        return BleuScore()


@dataclass(frozen=True)
class RagasQuotedSpans(RagasMetric):
    """Share of what the answer quotes that stands in its passages word for word.

    Parameters
    ----------
    words : int
        Quotations of fewer words are not looked at.
    """

    words: int = 3

    context: ClassVar[tuple[str, ...]] = ("contexts",)
    definition: ClassVar[Definition] = Definition(
        formula="quoted spans of the answer that occur in its passages / quoted spans of the answer",
        source=SOURCE.format("QuotedSpansAlignment"),
        denominator="quoted spans of at least so many words, in any case and spacing",
        empty="an answer that quotes nothing scores 1",
        note="an apostrophe may be taken for a quotation mark",
    )

    def __post_init__(self) -> None:
        check_cutoff(self, self.words, "words")

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Return the share of each answer; needs ``contexts``, as `Supported.score` does; references are not used."""
        check_answers(self, predictions, references)
        self.check_package()
        contexts = lists_of(self, "contexts", context, len(predictions))

        async def every() -> list[float]:
            from ragas.metrics.collections import QuotedSpansAlignment

            scorer = QuotedSpansAlignment(min_span_words=self.words)
            return [
                (await scorer.ascore(response=answer, retrieved_contexts=passages)).value
                for answer, passages in zip(predictions, contexts, strict=True)
            ]

        return np.array(run_alone(every), dtype=np.float64)


def lists_of(metric: AnswerMetric, name: str, context: dict[str, Any], queries: int) -> list[list[Any]]:
    """Return one list a query of what evaluation hands over by name."""
    given = context.get(name)
    if given is None or len(given) != queries:
        found = "none" if given is None else len(given)
        raise MetricError(f"{metric}: {found} {name} for {queries} queries; pass {name}=")
    return [list(one) for one in given]


def run_alone(work: Callable[[], Coroutine[Any, Any, list[float]]]) -> list[float]:
    """Run ragas' coroutines in a thread and a loop of their own: neither a notebook's nor that of pending calls."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()
