"""ragas' metrics of contexts that need no model, computed by ragas itself.

What went into the prompt is held against what should have. They need no answer, and none is made for them.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.answers import check_answers
from evalkit.metrics.base import Definition, Need
from evalkit.metrics.checks import check_between
from evalkit.metrics.ragas import SOURCE, RagasMetric, lists_of, run_alone

__all__ = ["RagasContextPrecision", "RagasContextRecall", "RagasIDContextPrecision", "RagasIDContextRecall"]

Floats = NDArray[np.float64]
_NO_CONTEXT = "a query for which nothing was found scores 0; one without reference contexts is nan, outside the mean"


@dataclass(frozen=True)
class _OfContexts(RagasMetric):
    """A metric of what was found against what should have been; the answer is not looked at, and not made."""

    needs: ClassVar[Need] = "passages"
    context: ClassVar[tuple[str, ...]] = ("contexts", "reference_contexts")
    fields: ClassVar[tuple[str, str]] = ("retrieved_contexts", "reference_contexts")

    @abstractmethod
    def _scorer(self) -> Any:
        """Return ragas' own metric."""

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]], **context: Any) -> Floats:
        """Return the score of each query; predictions and references are not used. See `AnswerMetric.score`.

        Parameters
        ----------
        predictions, references
            As for `AnswerMetric.score`.
        **context
            ``contexts`` and ``reference_contexts``: for each query the texts that were found, best first, and those
            that hold the answer; for the metrics of ids ``context_ids`` and ``reference_ids``.
        """
        check_answers(self, predictions, references)
        self.check_package()
        found, wanted = (lists_of(self, name, context, len(predictions)) for name in self.context)

        async def every() -> list[float]:
            from ragas import SingleTurnSample

            scorer, values = self._scorer(), []
            for got, right in zip(found, wanted, strict=True):
                if got and right:
                    sample: dict[str, Any] = dict(zip(self.fields, (got, right), strict=True))
                    values.append(await scorer.single_turn_ascore(SingleTurnSample(**sample)))
                else:
                    values.append(0.0 if right else np.nan)
            return values

        return np.array(run_alone(every), dtype=np.float64)


@dataclass(frozen=True)
class RagasContextPrecision(_OfContexts):
    """Average precision of the passages, one being right that resembles a reference context.

    Parameters
    ----------
    threshold : float
        String similarity (Levenshtein) from which on two texts are one.
    """

    threshold: float = 0.5

    package: ClassVar[str] = "rapidfuzz"
    definition: ClassVar[Definition] = Definition(
        formula="sum over ranks i of precision@i * right(i) / right passages; right when the similarity to some "
        "reference context is at least threshold",
        source=SOURCE.format("NonLLMContextPrecisionWithReference"),
        denominator="queries with reference contexts",
        empty=_NO_CONTEXT,
        note="a chunk seldom resembles a whole document: meant for references of the chunks' size. Needs the package "
        "rapidfuzz",
    )

    def __post_init__(self) -> None:
        check_between(self, "threshold", 0, 1)

    def _scorer(self) -> Any:
        return _older("NonLLMContextPrecisionWithReference", threshold=self.threshold)


@dataclass(frozen=True)
class RagasContextRecall(_OfContexts):
    """Share of the reference contexts that some passage resembles.

    Parameters
    ----------
    threshold : float
        String similarity (Levenshtein) above which two texts are one.
    """

    threshold: float = 0.5

    package: ClassVar[str] = "rapidfuzz"
    definition: ClassVar[Definition] = Definition(
        formula="reference contexts whose similarity to some passage is above threshold / reference contexts",
        source=SOURCE.format("NonLLMContextRecall"),
        denominator="reference contexts: the evidence of the reference answer or, where it names none, the relevant "
        "documents",
        empty=_NO_CONTEXT,
        note="a chunk seldom resembles a whole document: meant for references of the chunks' size. Needs the package "
        "rapidfuzz",
    )

    def __post_init__(self) -> None:
        check_between(self, "threshold", 0, 1)

    def _scorer(self) -> Any:
        return _older("NonLLMContextRecall", threshold=self.threshold)


@dataclass(frozen=True)
class RagasIDContextPrecision(_OfContexts):
    """Share of the documents in the prompt that are relevant."""

    context: ClassVar[tuple[str, ...]] = ("context_ids", "reference_ids")
    fields: ClassVar[tuple[str, str]] = ("retrieved_context_ids", "reference_context_ids")
    definition: ClassVar[Definition] = Definition(
        formula="distinct documents of the passages that are relevant / distinct documents of the passages",
        source=SOURCE.format("IDBasedContextPrecision"),
        denominator="distinct documents whose passages went into the prompt",
        empty=_NO_CONTEXT,
    )

    def _scorer(self) -> Any:
        return _older("IDBasedContextPrecision")


@dataclass(frozen=True)
class RagasIDContextRecall(_OfContexts):
    """Share of the relevant documents that are in the prompt."""

    context: ClassVar[tuple[str, ...]] = ("context_ids", "reference_ids")
    fields: ClassVar[tuple[str, str]] = ("retrieved_context_ids", "reference_context_ids")
    definition: ClassVar[Definition] = Definition(
        formula="relevant documents among those of the passages / relevant documents",
        source=SOURCE.format("IDBasedContextRecall"),
        denominator="relevant documents",
        empty=_NO_CONTEXT,
    )

    def _scorer(self) -> Any:
        return _older("IDBasedContextRecall")


def _older(name: str, **settings: Any) -> Any:
    """Return a metric that ragas' newer collection has not got yet; it warns of the move."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ragas.metrics

        return getattr(ragas.metrics, name)(**settings)
