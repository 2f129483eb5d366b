"""A judge at its bench: what it is asked, through journalled and priced calls, and what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from evalkit.calls import INTERRUPTED, Call, CallFailed, TokenUsage
from evalkit.clock import run_async
from evalkit.columns import Array
from evalkit.evaluate.calling.caller import AT_ONCE, Caller, Ended
from evalkit.evaluate.nodes import Context
from evalkit.llm.messages import Chat
from evalkit.metrics.asking import Embed, JudgementFailed
from evalkit.metrics.judged import Case, JudgedMetric
from evalkit.types import Generator
from evalkit.values import Prompt

SYSTEM = "You judge texts as you are instructed. Answer with the JSON that is asked for, and with nothing else."
"""What a judge is told before every question, unless its own `Chat` says something else than the usual."""

_FAILURES_IN_A_ROW = 5
_CUT_OFF = "cut off at max_tokens; raise the judge's max_tokens"
_STOPPED = {"max_tokens": _CUT_OFF, "refusal": "refused", INTERRUPTED: "answer broke off"}

Asked = tuple[str, int]
"""A prompt's text and its sample number: with the judge, what tells one call from another."""
Task = tuple[JudgedMetric, Case, int]
"""A metric, what it sees of a case, and which repeat."""


@dataclass(frozen=True, eq=False)
class Judgements:
    """One metric of one system, as judged.

    Parameters
    ----------
    metric : JudgedMetric
    queries : tuple of str
        Those that it applies to, sorted.
    values : array of float, shape (queries, repeats)
        nan where there is no verdict.
    failed : array of bool, shape (queries, repeats)
        Judged without a usable verdict. What is neither failed nor has a value was left when the run ended.
    reasons : {reason: count}
        Why judgements failed.
    """

    metric: JudgedMetric
    queries: tuple[str, ...]
    values: Array
    failed: Array
    reasons: Mapping[str, int]

    @property
    def left(self) -> int:
        """Judgements that were not made, as the run ended or the judge could not be reached."""
        return int((np.isnan(self.values) & ~self.failed).sum())


@dataclass(frozen=True)
class JudgeBill:
    """What one system's judgements took: all their calls, also those that an earlier run or another system paid for.

    Parameters
    ----------
    calls : int
        Distinct calls; for one that failed, its tries are one.
    usage : TokenUsage
        Tries that were given up included.
    dollars : float or None
        None where the price list does not know the judge's model.
    complete : bool
        Whether the final usage of every try arrived; if not, tokens and dollars are lower bounds.
    """

    calls: int
    usage: TokenUsage
    dollars: float | None
    complete: bool = True


def as_judge(generator: Generator) -> Generator:
    """Return a generator that is told to judge instead of to answer, unless it has instructions of its own."""
    chat: Any = getattr(generator, "chat", None)
    if isinstance(chat, Chat) and chat.system == Chat().system:
        return cast("Generator", replace(cast("Any", generator), chat=replace(chat, system=SYSTEM)))
    return generator


class Bench:
    """A judge within a run, and what it said."""

    def __init__(self, judge: Generator, context: Context) -> None:
        self.context, self.over = context, False
        self.caller = Caller(as_judge(judge), context.store, context.spending, self.ended)
        self.values: dict[Task, float] = {}
        self.failures: dict[Task, str] = {}
        self.asked: dict[Task, set[Asked]] = {}
        self.calls: dict[Asked, Call | None] = {}
        self.broken: list[Exception] = []
        self._in_a_row = 0
        self._embedders: dict[str, Embed] = {}

    def ended(self) -> bool:
        """Whether no call is to be begun any more; what the journal has is still found."""
        return self.over or self.context.stop.is_set()

    def work(self, tasks: Iterable[Task], advance: Callable[[], object]) -> None:
        """Do all tasks; an interrupt lets those under way end, and leaves the rest."""
        finished = threading.Event()

        async def every() -> None:
            waiting = iter(tasks)
            try:
                await asyncio.gather(*(self._worker(waiting, advance) for _ in range(AT_ONCE)))
            finally:
                finished.set()
            if self.broken:
                raise self.broken[0]

        try:
            run_async(every())
        except KeyboardInterrupt:
            self.context.stop.set()
            finished.wait()

    async def _worker(self, waiting: Iterator[Task], advance: Callable[[], object]) -> None:
        for task in waiting:
            if self.context.stop.is_set():
                return
            await self._judge(task)
            advance()

    async def _judge(self, task: Task) -> None:
        metric, case, repeat = task
        mine = self.asked[task] = set()

        async def ask(text: str, sample: int) -> str:
            key = text, sample
            mine.add(key)
            try:
                answer = await self.caller(Prompt(text, (), (), ()), sample)
            except CallFailed as failure:
                self.calls[key] = failure.call
                self._in_a_row += 1
                self.over |= failure.final or self._in_a_row >= _FAILURES_IN_A_ROW
                raise
            self.calls[key], self._in_a_row = answer.call, 0
            if answer.call is not None and answer.call.stop in _STOPPED:
                raise JudgementFailed(_STOPPED[answer.call.stop])
            return answer.text

        try:
            self.values[task] = await metric.judge(case, ask, repeat, self._embed(metric))
        except JudgementFailed as failure:
            self.failures[task] = str(failure)
        except CallFailed as failure:
            self.failures[task] = str(failure) if failure.final else f"call failed: {failure.call.stop}"
        except Ended:
            self.over = True
        except Exception as error:  # a wrong spec: the others end what they are at, and then it is raised
            self.over = True
            self.broken.append(error)

    def _embed(self, metric: JudgedMetric) -> Embed | None:
        """Return the embedding model that a metric names."""
        name = getattr(metric, "embedder", None)
        if name is None:
            return None
        if name not in self._embedders:
            from evalkit.stages import SentenceTransformer

            model = SentenceTransformer(name, batch_size=1)  # a vector must not depend on what it was embedded with
            self._embedders[name] = lambda texts: model.encode(list(texts))
        return self._embedders[name]

    def judgements(self, metric: JudgedMetric, cases: Mapping[str, Case]) -> Judgements:
        """Gather one metric of one system."""
        queries = tuple(sorted(query for query, case in cases.items() if metric.applies(case)))
        tasks = [[(metric, metric.seen(cases[q]), r) for r in range(metric.repeats)] for q in queries]
        shape = len(queries), metric.repeats
        values = np.array([[self.values.get(t, np.nan) for t in row] for row in tasks], dtype=np.float64)
        failed = np.array([[t in self.failures for t in row] for row in tasks], dtype=np.bool_)
        reasons = Counter(self.failures[t] for row in tasks for t in row if t in self.failures)
        return Judgements(metric, queries, values.reshape(shape), failed.reshape(shape), dict(reasons))

    def bill(self, metrics: Sequence[JudgedMetric], cases: Mapping[str, Case]) -> JudgeBill:
        """Add up the calls behind one system's judgements, each once."""
        asked = {
            key
            for case in cases.values()
            for metric in metrics
            for repeat in range(metric.repeats)
            for key in self.asked.get((metric, metric.seen(case), repeat), ())
        }
        calls = [self.calls[key] for key in sorted(asked) if key in self.calls]
        made = [call for call in calls if call is not None]
        usage = sum((call.used for call in made), TokenUsage())
        whole = not any(call.at_least for call in made)
        return JudgeBill(len(calls), usage, _dollars(made, self.context), whole)


def _dollars(calls: Sequence[Call], context: Context) -> float | None:
    if not calls:
        return None
    prices = context.spending.prices
    if not all(call.model and prices.knows(call.model) for call in calls):
        return None
    return sum(prices.dollars(call) for call in calls)
