"""A run's judging: all systems' answers, by one judge; what failed is counted as failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from evalkit.errors import InputError
from evalkit.evaluate.apply import worst
from evalkit.evaluate.calling.billing import prices_used
from evalkit.evaluate.judging.bench import Bench, JudgeBill, Judgements
from evalkit.evaluate.nodes import Context
from evalkit.evaluate.quality import Quality
from evalkit.evaluate.score import Scorer
from evalkit.metrics.judged import Case, JudgedMetric
from evalkit.metrics.ragas import quiet_ragas
from evalkit.progress import progress
from evalkit.types import Generator, Origin
from evalkit.values import Prompt

if TYPE_CHECKING:
    from evalkit.evaluate.experiment import Experiment


@dataclass(frozen=True, eq=False)
class JudgedRun:
    """What the judge made of a run; nothing, where no metric asks for one.

    Parameters
    ----------
    scores : {label: list of Judgements}
    bills : {label: JudgeBill}
    origins : {label: Origin}
        The worse of the judge's and of what it judged.
    notes : {what: count}
        What is missing, for the manifest.
    prices : list of rows
        Of the price list, by which the judge's calls were priced.
    replayed : bool
        Whether any of the judge's answers came out of a cassette.
    left : int
        Judgements that were not made any more.
    """

    scores: Mapping[str, list[Judgements]] = field(default_factory=dict)
    bills: Mapping[str, JudgeBill] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    prices: Sequence[Mapping[str, Any]] = ()
    replayed: bool = False
    left: int = 0


NOT_JUDGED = JudgedRun()


def cannot_judge(experiment: Experiment) -> list[str]:
    """Say why the judge's calls cannot be priced, before anything is paid for."""
    if not getattr(experiment.judge, "paid", False):
        return []
    try:
        cast("Any", experiment.judge).at_most(Prompt("", (), (), ()))
    except InputError as error:
        return [f"judge: {error}"]
    return []


def judge_run(experiment: Experiment, quality: Quality, scorer: Scorer) -> JudgedRun:
    """Judge what a run's metrics ask, when all its systems are done."""
    metrics = [metric for metric in experiment.metrics if isinstance(metric, JudgedMetric)]
    if not metrics or experiment.judge is None:
        return NOT_JUDGED
    wanted = {label: quality.plan.wanted[label] for label in quality.variants}
    found = judge_all(
        experiment.judge,
        metrics,
        {label: scorer.cases(ends) for label, ends in wanted.items()},
        scorer.asked,
        scorer.context,
    )
    own: Origin = getattr(experiment.judge, "origin", "measured")
    seen = {
        label: [scorer.done[ends[s]].origin for s in ("prompt", "answer") if s in ends]
        for label, ends in wanted.items()
    }
    replayed: list[Origin] = ["replayed"] if found.replayed else []
    return replace(found, origins={label: worst([own, *origins, *replayed]) for label, origins in seen.items()})


def judge_all(
    judge: Generator,
    metrics: Iterable[JudgedMetric],
    cases: Mapping[str, Mapping[str, Case]],
    order: Sequence[str],
    context: Context,
) -> JudgedRun:
    """Judge every system's cases, several at a time; equal ones once.

    Queries are taken in `order`, all systems' together: what is left when money or patience ends is a random part of
    the queries, the same for all. Each judgement goes through the journal by content and an explicit sample number,
    so a second run makes no call. A call that fails makes its judgement fail; where nothing can succeed, or several
    fail in a row, no more is asked.

    Parameters
    ----------
    judge : Generator
    metrics : iterable of JudgedMetric
    cases : {label: {query: Case}}
    order : sequence of query ids
    context : Context
        Its store is the journal, its spending the limit, its `stop` the end.

    Raises
    ------
    InputError, EvalkitError
        What a generator raises that is no failed call: a wrong spec.
    """
    wanted = list(metrics)
    quiet_ragas()  # here, and not in the thread of the calls, which an import would hold up
    bench = Bench(judge, context)
    tasks = dict.fromkeys(
        (metric, metric.seen(case), repeat)
        for query in order
        for own in cases.values()
        if (case := own.get(query)) is not None
        for metric in wanted
        if metric.applies(case)
        for repeat in range(metric.repeats)
    )
    with progress("judge", total=len(tasks)) as bar:
        bench.work(tasks, lambda: bar.update(1))
    scores = {label: [bench.judgements(metric, own) for metric in wanted] for label, own in cases.items()}
    bills = {label: bench.bill(wanted, own) for label, own in cases.items()}
    notes: Counter[str] = Counter()
    for label, found in scores.items():
        for one in found:
            for reason, count in one.reasons.items():
                notes[f"{label}: {one.metric} failed: {reason}"] += count
            if one.left:
                notes[f"{label}: {one.metric} was not judged any more"] += one.left
    prices = prices_used(bench.calls.values(), context.spending.prices)
    replayed = bench.caller.journal.replayed
    left = sum(one.left for found in scores.values() for one in found)
    return JudgedRun(scores, bills, notes=dict(notes), prices=prices, replayed=replayed, left=left)
