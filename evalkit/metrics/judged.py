"""Metrics that a model judges: ragas' prompts and arithmetic, asked of any model through a function.

A metric here knows neither generators nor money: it is given ``ask``, which sends one prompt and returns the text
that came back. `evalkit.evaluate.judging.run` makes that a journalled, priced call.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from evalkit.metrics.asking import Ask, Embed, JudgementFailed, embedding_class, judge_class
from evalkit.metrics.base import Definition, Metric, MetricError, Need
from evalkit.metrics.ragas import SOURCE, quiet_ragas

__all__ = ["AnswerRelevancy", "Case", "ContextPrecision", "ContextRecall", "Faithfulness", "JudgedMetric"]

_FAILED = (
    "a judgement that failed (no JSON as asked for, a refusal, a broken or failed call) is counted as failed, never "
    "as 0 and never left out unsaid"
)


@dataclass(frozen=True)
class Case:
    """What is judged: one system's work on one query.

    Parameters
    ----------
    question : str
    answer : str
    passages : tuple of str
        As they went into the prompt, best first.
    reference : str
        The reference answer; empty where there is none.
    """

    question: str
    answer: str = ""
    passages: tuple[str, ...] = ()
    reference: str = ""


@dataclass(frozen=True)
class JudgedMetric(Metric, ABC):
    """A metric that a model judges.

    Parameters
    ----------
    repeats : int
        How often each case is judged, with samples of their own: from two on, the judge's own noise is measured.

    Attributes
    ----------
    reads : frozenset of str
        Fields of `Case` that the judgement depends on beside the question.
    """

    repeats: int = 1

    needs: ClassVar[Need] = "judge"
    reads: ClassVar[frozenset[str]]

    def __post_init__(self) -> None:
        self._check_count("repeats")

    def _check_count(self, field: str) -> None:
        count = getattr(self, field)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise MetricError(f"{type(self).__name__}: {field} must be a whole number of at least 1, not {count!r}")

    @property
    def per_prompt(self) -> int:
        """How many samples one judgement takes of one prompt."""
        return 1

    def applies(self, case: Case) -> bool:
        """Whether the case can be judged: it has a question, and a reference answer where one is needed."""
        return bool(case.question.strip()) and ("reference" not in self.reads or bool(case.reference.strip()))

    def seen(self, case: Case) -> Case:
        """Return the case without what the metric does not look at: equal ones are judged once."""
        return Case(case.question, **{name: getattr(case, name) for name in self.reads})

    @abstractmethod
    def unasked(self, case: Case) -> float | None:
        """Return the value of a case that needs no judge; None where one must be asked."""

    @abstractmethod
    def _scorer(self, judge: Any, embeddings: Any) -> Any:
        """Return ragas' own metric."""

    async def judge(self, case: Case, ask: Ask, repeat: int = 0, embed: Embed | None = None) -> float:
        """Judge one case once.

        Parameters
        ----------
        case : Case
        ask : async function of a prompt and a sample number
        repeat : int
            Which of the repeats: it sets the samples.
        embed : function of texts, optional
            Vectors, shape (texts, d); for the metrics that compare questions.

        Raises
        ------
        JudgementFailed
            If what came back holds no verdict, with the reason. Errors of `ask` pass through.
        """
        known = self.unasked(case)
        if known is not None:
            return known
        quiet_ragas()
        judge = judge_class()(ask, repeat, self.per_prompt)
        given: dict[str, Any] = {"user_input": case.question}
        names = {"answer": "response", "passages": "retrieved_contexts", "reference": "reference"}
        for field in self.reads:
            held = getattr(case, field)
            given[names[field]] = list(held) if field == "passages" else held
        value = float((await self._scorer(judge, embedding_class()(embed)).ascore(**given)).value)
        if not math.isfinite(value):
            raise JudgementFailed("no statement to judge")
        return min(max(value, self.range[0]), self.range[1])


@dataclass(frozen=True)
class Faithfulness(JudgedMetric):
    """Share of the answer's statements that its passages support."""

    reads: ClassVar[frozenset[str]] = frozenset({"answer", "passages"})
    definition: ClassVar[Definition] = Definition(
        formula="statements of the answer that follow from the passages / statements of the answer; the judge first "
        "cuts the answer into statements, then decides on each",
        source=SOURCE.format("Faithfulness"),
        denominator="statements that the judge finds in the answer",
        empty="an empty answer claims nothing and scores 1; an answer from no passages scores 0; neither is asked",
        missing=_FAILED,
        note="a judge that gives another number of verdicts than it found statements has failed; ragas would divide "
        "by what it gave",
    )

    def unasked(self, case: Case) -> float | None:
        """Return 1 for an empty answer, else 0 for no passages."""
        if not case.answer.strip():
            return 1.0
        return None if any(p.strip() for p in case.passages) else 0.0

    def _scorer(self, judge: Any, embeddings: Any) -> Any:
        from ragas.metrics.collections import Faithfulness as Scorer

        return Scorer(llm=judge)


@dataclass(frozen=True)
class AnswerRelevancy(JudgedMetric):
    """Whether the answer is one to the question: how near the questions are that it would answer.

    Parameters
    ----------
    questions : int
        Questions that the judge makes up for each answer.
    embedder : str
        A sentence-transformers model that is on this machine: the value depends on it.
    """

    questions: int = 3
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"

    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    reads: ClassVar[frozenset[str]] = frozenset({"answer"})
    definition: ClassVar[Definition] = Definition(
        formula="mean cosine of the question and the questions that the judge makes up for the answer; 0 when it "
        "calls the answer noncommittal each time",
        source=SOURCE.format("AnswerRelevancy"),
        denominator="questions made up",
        empty="an empty answer scores 0 and is not asked",
        missing=_FAILED,
        note="says nothing of whether the answer is right",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_count("questions")

    @property
    def per_prompt(self) -> int:
        """The questions are samples of one prompt."""
        return self.questions

    def unasked(self, case: Case) -> float | None:
        """Return 0 for an empty answer."""
        return None if case.answer.strip() else 0.0

    def _scorer(self, judge: Any, embeddings: Any) -> Any:
        from ragas.metrics.collections import AnswerRelevancy as Scorer

        return Scorer(llm=judge, embeddings=embeddings, strictness=self.questions)


@dataclass(frozen=True)
class ContextPrecision(JudgedMetric):
    """Average precision of the passages, the judge saying of each whether it served to arrive at the reference."""

    reads: ClassVar[frozenset[str]] = frozenset({"passages", "reference"})
    definition: ClassVar[Definition] = Definition(
        formula="sum over ranks i of precision@i * useful(i) / useful passages",
        source=SOURCE.format("ContextPrecisionWithReference"),
        denominator="queries with a reference answer",
        empty="a query for which nothing was found scores 0 and is not asked",
        missing=_FAILED,
        note="only the first of several right answers is the reference; one call a passage",
    )

    def unasked(self, case: Case) -> float | None:
        """Return 0 for no passages."""
        return None if case.passages else 0.0

    def _scorer(self, judge: Any, embeddings: Any) -> Any:
        from ragas.metrics.collections import ContextPrecisionWithReference as Scorer

        return Scorer(llm=judge)


@dataclass(frozen=True)
class ContextRecall(JudgedMetric):
    """Share of the reference answer's sentences that the passages hold."""

    reads: ClassVar[frozenset[str]] = frozenset({"passages", "reference"})
    definition: ClassVar[Definition] = Definition(
        formula="sentences of the reference answer that can be attributed to the passages / its sentences",
        source=SOURCE.format("ContextRecall"),
        denominator="sentences that the judge finds in the reference answer",
        empty="a query for which nothing was found scores 0 and is not asked",
        missing=_FAILED,
        note="only the first of several right answers is the reference",
    )

    def unasked(self, case: Case) -> float | None:
        """Return 0 for no passages."""
        return None if any(p.strip() for p in case.passages) else 0.0

    def _scorer(self, judge: Any, embeddings: Any) -> Any:
        from ragas.metrics.collections import ContextRecall as Scorer

        return Scorer(llm=judge)
