"""The quality work of a run: every variant's nodes, all at once or as a race, until done or told to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from evalkit.columns import Array
from evalkit.datasets import Dataset
from evalkit.errors import EvalkitError
from evalkit.evaluate.calling.spending import Spending
from evalkit.evaluate.execute import attempt
from evalkit.evaluate.nodes import Context, Failure, Finished, Outcome, Result
from evalkit.evaluate.plan import Plan, make_plan
from evalkit.evaluate.score import Scorer, applicable, targets
from evalkit.metrics import Metric
from evalkit.metrics.racing import Race, Stopped, race
from evalkit.types import QUERY, Digest
from evalkit.values import Queries
from evalkit.variants import Variant

if TYPE_CHECKING:
    from evalkit.evaluate.experiment import Experiment


@dataclass(frozen=True)
class Quality:
    """What came of a plan.

    Parameters
    ----------
    plan : Plan
    done : {recipe: Result}
    variants : {label: Variant}
        Those that have all their results.
    failed : {label: reason}
    stopped : {label: Stopped}
        Out of the race before the last query.
    unfinished : tuple of label
        Not done when the run was ended.
    overdue : bool
        The budget's time ended it.
    """

    plan: Plan
    done: Mapping[Digest, Result]
    variants: Mapping[str, Variant]
    failed: Mapping[str, str] = field(default_factory=dict)
    stopped: Mapping[str, Stopped] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    overdue: bool = False


def no_money(spending: Spending) -> str:
    """Say why calls were not made, and how to go on."""
    doubt = f" and up to ${spending.in_doubt:.4f} more may be" if spending.in_doubt else ""
    return (
        f"the next call may cost up to ${spending.wanted:.4f} and could pass the limit of ${spending.limit:g}, of "
        f"which ${spending.dollars:.4f} is spent{doubt}; what was paid for is kept, so raise the limit and run again "
        "to go on"
    )


def plan_of(experiment: Experiment, variants: Mapping[str, Variant]) -> Plan:
    """Return the plan of all that an experiment needs."""
    timed = experiment.timing is not None
    return make_plan({label: targets(v, experiment.metrics, timed) for label, v in variants.items()})


def do_quality(
    experiment: Experiment,
    variants: Mapping[str, Variant],
    plan: Plan,
    data: Dataset,
    given: Mapping[Digest, Result],
    context: Context,
    *,
    finished: Finished = lambda node, outcome: None,
    scheduler: str | None = None,
) -> Quality:
    """Work on everything that the variants need.

    Parameters
    ----------
    experiment : Experiment
    variants : {label: Variant}
    plan : Plan
        Of all of them, from `plan_of`.
    data : Dataset
    given : {recipe: Result}
        The sources; for a race, the queries in its blocks.
    context : Context
        Its `stop` ends the work.
    finished : function
        Told of every node.
    scheduler : str, optional
        Address of a Dask cluster.

    Raises
    ------
    EvalkitError
        If no variant is left: all failed, or the budget's time was over before one was done.
    KeyboardInterrupt
        If the work was interrupted before any variant was done.
    """
    work = _Work(plan, variants, context, finished, scheduler)
    with _deadline(experiment, context) as overdue:
        if experiment.race is not None:
            _run_race(experiment.race, experiment.sweep.base_label, work, data, given)
        raced = len(work.failed)
        done = work.attempt(work.plan.only(work.alive), given)
        if len(work.failed) > raced and work.stopped:
            work.put_back()
            done = work.attempt(work.plan.only(work.alive), given)
    unfinished = tuple(label for label in work.alive if work.end_of(label, done) is not None)
    if len(unfinished) == len(work.alive):
        if overdue.is_set():
            raise EvalkitError(f"the budget of {_minutes(experiment):g} minutes was spent before any system was done")
        if context.spending.refused:
            raise EvalkitError(no_money(context.spending) + "; no system was done by then")
        if context.stop.is_set():
            raise KeyboardInterrupt
        raise next(iter(work.failed.values())).error()
    alive = {label: variant for label, variant in work.alive.items() if label not in unfinished}
    results = {recipe: outcome for recipe, outcome in done.items() if isinstance(outcome, Result)}
    reasons = {label: failure.reason for label, failure in work.failed.items()}
    return Quality(plan, results, alive, reasons, work.stopped, unfinished, overdue.is_set())


@dataclass
class _Work:
    plan: Plan
    variants: Mapping[str, Variant]
    context: Context
    finished: Finished
    scheduler: str | None
    alive: dict[str, Variant] = field(init=False)
    failed: dict[str, Failure] = field(default_factory=dict)
    stopped: dict[str, Stopped] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.alive = dict(self.variants)

    def attempt(self, plan: Plan, given: Mapping[Digest, Result]) -> dict[Digest, Outcome]:
        """Run a plan; variants with a failed node are out."""
        done = attempt(plan, given, self.context, self.finished, self.scheduler)
        for label in list(self.alive):
            end = self.end_of(label, done)
            if end is not None and not end.stopped:
                self.failed[label] = end
                del self.alive[label]
        return done

    def put_back(self) -> None:
        """Let those that were stopped race again: what beat them has failed, and what is done is in the store."""
        self.alive |= {label: self.variants[label] for label in self.stopped}
        self.stopped.clear()

    def end_of(self, label: str, done: Mapping[Digest, Outcome]) -> Failure | None:
        """Why a variant has not all of its results; None if it has."""
        ends = [done[recipe] for recipe in self.plan.wanted[label].values() if recipe in done]
        failures = [end for end in ends if isinstance(end, Failure)]
        return next((f for f in failures if not f.stopped), failures[0] if failures else None)


def _run_race(rules: Race, base: str, work: _Work, data: Dataset, given: Mapping[Digest, Result]) -> None:
    """Ask block after block of the queries; what cannot be the best is stopped, but for the base."""
    blocks, metric = given[QUERY.recipe].blocks, rules.metric
    population, (low, high) = len(applicable(data, metric)), metric.range
    needed = {name for variant in work.alive.values() for name in targets(variant, [metric], timed=False)}
    scores: dict[str, Array] = {}
    for asked in range(1, len(blocks)):
        part = {**given, QUERY.recipe: Result(blocks[:asked])}
        done = work.attempt(work.plan.only(work.alive, needed - {"truncated"}), part)
        if work.failed.keys() & scores.keys():
            work.put_back()
            scores.clear()
            done = work.attempt(work.plan.only(work.alive, needed - {"truncated"}), part)
        if work.context.stop.is_set() or not work.alive:
            return
        scores |= _values_so_far(metric, work, data, done, part)
        if all(column.size for column in scores.values()):
            out = race(
                scores, population, low=low, high=high, level=rules.level, higher_is_better=metric.higher_is_better
            )
            work.stopped.update({label: why for label, why in out.items() if label != base})
            work.alive = {label: v for label, v in work.alive.items() if label not in work.stopped}


def _values_so_far(
    metric: Metric, work: _Work, data: Dataset, done: Mapping[Digest, Outcome], given: Mapping[Digest, Result]
) -> dict[str, Array]:
    """The metric of every query that was asked, in the order of asking, for each system that is racing."""
    order = list(cast("Queries", work.context.whole(given[QUERY.recipe].blocks)).id)
    known = {recipe: outcome for recipe, outcome in done.items() if isinstance(outcome, Result)}
    scorer, found = Scorer(data.select(order), known, work.context), {}
    for label in work.alive:
        scored = next(s for s in scorer.score(work.plan.wanted[label], [metric]) if s.metric == str(metric))
        values = dict(zip(scored.queries, scored.values.tolist(), strict=True))
        found[label] = np.array([values[query] for query in order if query in values])
    return found


def _minutes(experiment: Experiment) -> float | None:
    return experiment.budget.minutes if experiment.budget else None


@contextmanager
def _deadline(experiment: Experiment, context: Context) -> Iterator[threading.Event]:
    """End the work when its time is over; what is under way is finished. Yields whether it was."""
    minutes, overdue = _minutes(experiment), threading.Event()

    def end() -> None:
        overdue.set()
        context.stop.set()

    timer = threading.Timer(60 * minutes, end) if minutes is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield overdue
    finally:
        if timer is not None:
            timer.cancel()
