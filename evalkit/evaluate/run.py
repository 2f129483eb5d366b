"""Running an experiment: plan, evaluate, time, score."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from evalkit.datasets import Dataset, load_dataset
from evalkit.errors import EvalkitError, InputError, InputErrors
from evalkit.evaluate.calling.billing import lower_bounds, usage_of, without_price
from evalkit.evaluate.calling.caller import Ended
from evalkit.evaluate.calling.recording import Recording
from evalkit.evaluate.calling.spending import Spending
from evalkit.evaluate.experiment import DEFAULT_METRICS, Experiment
from evalkit.evaluate.judging.run import cannot_judge, judge_run
from evalkit.evaluate.manifest import manifest_of
from evalkit.evaluate.nodes import Context, Result, sources
from evalkit.evaluate.plan import Plan
from evalkit.evaluate.quality import Quality, do_quality, no_money, plan_of
from evalkit.evaluate.results import Results
from evalkit.evaluate.score import Scorer, applicable
from evalkit.evaluate.streams import refused
from evalkit.evaluate.tables import tables
from evalkit.evaluate.timing import Samples, Timing, measure, origins
from evalkit.evaluate.watch import watch
from evalkit.llm.pricing import Prices
from evalkit.machine import machine
from evalkit.metrics import AnswerMetric, CostMetric, Metric, MetricError, StreamMetric, parse
from evalkit.metrics.racing import Race
from evalkit.metrics.ragas import MissingPackage
from evalkit.paths import store_dir
from evalkit.progress import progress
from evalkit.store import DiskStore
from evalkit.sweep import Sweep, SweepBudget
from evalkit.types import QUERY, Digest, Generator, Store
from evalkit.values import Answers, Prompt, Queries
from evalkit.variants import Variant

_EARLY = "the run was ended before"


def run(
    what: Experiment | Sweep | Variant,
    data: Dataset | str | os.PathLike[str] | None = None,
    metrics: Sequence[str | Metric] | str | Metric | None = None,
    *,
    timing: Timing | None = None,
    seed: int | None = None,
    name: str = "sweep",
    store: Store | None = None,
    retime: bool = False,
    race: Race | None = None,
    budget: SweepBudget | None = None,
    judge: Generator | None = None,
    scheduler: str | None = None,
) -> Results:
    """Evaluate systems on a data set.

    Every distinct piece of work is done once, and what the store has from earlier runs is not done again.

    Parameters
    ----------
    what : Experiment, Sweep or Variant
    data : Dataset or path, optional
        Needed unless an experiment names one.
    metrics : sequence of str or Metric, optional
        For a sweep or a variant; default MRR@10, nDCG@10 and Recall@10.
    timing : Timing, optional
        Measure latency too, or, for an experiment, otherwise than it says.
    seed : int, optional
        Of blocks, samples, intervals and tests; default 0, or what the experiment says.
    name : str
        Names the results of a sweep or a variant.
    store : Store, optional
        Default: the project's.
    retime : bool
        Take latencies again, though the store has them from this machine.
    race : Race, optional
        Stop early what cannot be the best any more, or, for an experiment, otherwise than it says.
    budget : SweepBudget, optional
        What the run may cost; likewise.
    judge : Generator, optional
        Who judges what metrics such as `Faithfulness` ask; likewise.
    scheduler : str, optional
        Address of a Dask cluster whose workers see the same store: ``tcp://host:8786``. Default: threads here.

    Returns
    -------
    Results
        Of the systems that were done. Those that failed, were stopped by the race or were not finished when the run
        was interrupted or its budget spent are named in the manifest, with the reason. Where the base is among them,
        the first system that was done is the base. Latency is taken last, and of all systems or none.

    Raises
    ------
    InputError
        If anything in the spec or the data is wrong; nothing has been run then.
    EvalkitError
        If every system fails.
    KeyboardInterrupt
        If the run is interrupted before any system is done.
    """
    if data is not None and not isinstance(data, Dataset):
        data = load_dataset(data)
    experiment = _experiment(what, data, metrics, timing, seed, name)
    experiment = replace(
        experiment,
        race=race or experiment.race,
        budget=budget or experiment.budget,
        judge=judge or experiment.judge,
    )
    data = data if data is not None else load_dataset(experiment.dataset, split=experiment.split)
    plan, variants = _checked(experiment, data)
    store = store if store is not None else DiskStore(store_dir())
    started, clock = datetime.now(UTC), time.perf_counter()
    given = sources(data, experiment.seed, store, experiment.race.block if experiment.race else None)
    spending = Spending(experiment.budget.dollars if experiment.budget else None)
    if spending.limit is not None and scheduler:
        raise InputError(
            "run: a limit in dollars cannot be held over a cluster's workers; leave scheduler out, or it"
        )
    if scheduler and getattr(store, "records", False):
        raise InputError("run: a cassette is recorded by one process; leave scheduler out, or replay")
    with watch(experiment, variants, plan, data, given, store, spending) as (context, finished):
        quality = do_quality(
            experiment, variants, plan, data, given, context, finished=finished, scheduler=scheduler
        )  # fmt: skip
    base = experiment.sweep.base_label
    if base not in quality.variants:
        base = next(iter(quality.variants))
    samples: Mapping[str, Samples] = {}
    where: Mapping[str, Any] = machine()
    untimed = ""
    try:
        samples, where = _time(experiment, quality, base, data, context, retime, scheduler)
    except KeyboardInterrupt:  # the quality work is done, and is not lost
        context.stop.set()
        untimed = _EARLY
    except Ended:
        untimed = no_money(spending) if spending.refused else _EARLY
    except EvalkitError as error:
        untimed = str(error)
    if experiment.timing is not None and not samples:
        untimed = untimed or _EARLY
    scorer = Scorer(data, quality.done, context)
    judged = judge_run(experiment, quality, scorer)
    per_query, summary = tables(experiment, quality.variants, quality.plan, scorer, samples, judged)
    made = {label: scorer.calls(quality.plan.wanted[label]) for label in quality.variants}
    prices = scorer.prices_used(quality.plan.wanted[label] for label in quality.variants)
    if isinstance(store, Recording):
        store.finished = not (quality.failed or quality.unfinished or untimed or spending.refused)
    manifest = {
        **(known := manifest_of(experiment, data, quality, base, samples, where)),
        "untimed": untimed,
        "unjudged": judged.left,
        "unpaid": no_money(spending) if spending.refused else "",
        **({"cassette": store.plain()} if isinstance(store, Recording) else {}),
        "incomplete": {**known["incomplete"], **lower_bounds(made), **judged.notes},
        "spending": {**spending.plain(), "counted": not scheduler},
        "stated times": [label for label, variant in quality.variants.items() if samples and origins(variant)],
        "prices": [*prices, *(row for row in judged.prices if row not in prices)],
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 2),
    }
    systems = {label: variant.fingerprint for label, variant in quality.variants.items()}
    return Results(summary, per_query, systems, base, manifest, quality.variants)


def _time(
    experiment: Experiment,
    quality: Quality,
    base: str,
    data: Dataset,
    context: Context,
    retime: bool,
    scheduler: str | None,
) -> tuple[Mapping[str, Samples], Mapping[str, Any]]:
    """Take latencies after the quality work, alone; on a cluster on one worker. Returns also the machine it was."""
    timed = experiment.timing
    if timed is None or context.stop.is_set():
        return {}, machine()
    answered = _answered(quality, context)
    given = (quality.variants, base, data, quality.done, context, timed, experiment.seed, retime, answered)
    if scheduler:
        from evalkit.evaluate.cluster import on_one_worker

        taken, where = on_one_worker(scheduler, _time_here, *given)
        return taken, where
    visits = (len(quality.variants) + 1) * (timed.warmup + timed.repeats * min(timed.queries, len(data.queries)))
    with progress("time", total=visits) as bar:
        return _time_here(*given, bar.update)


def _time_here(
    variants: Mapping[str, Variant],
    base: str,
    data: Dataset,
    done: Mapping[Digest, Result],
    context: Context,
    timing: Timing,
    seed: int,
    retime: bool,
    answered: Mapping[str, Mapping[str, Answers]],
    advance: Callable[[int], Any] = lambda requests: None,
) -> tuple[Mapping[str, Samples], Mapping[str, Any]]:
    samples = measure(
        variants, base, data, done, context, timing, seed=seed, retime=retime, advance=advance, answered=answered
    )
    return samples, machine()


def _answered(quality: Quality, context: Context) -> dict[str, dict[str, Answers]]:
    """What generators whose calls state their time have answered in this run, a row a query."""
    asked = list(cast("Queries", context.whole(quality.done[QUERY.recipe].blocks)).id)
    found = {}
    for label, variant in quality.variants.items():
        recipe = quality.plan.wanted[label].get("answer")
        if recipe is not None and origins(variant):
            answers = cast("Answers", context.whole(quality.done[recipe].blocks))
            found[label] = {query: answers.row(i) for i, query in enumerate(asked)}
    return found


def check(experiment: Experiment, data: Dataset) -> dict[str, Variant]:
    """Check all that can be checked before anything runs; returns the variants.

    Raises
    ------
    InputErrors
        If metrics cannot be computed from this data.
    MissingModel
        If a model that some variant names is not on this machine.
    """
    return _checked(experiment, data)[1]


def _checked(experiment: Experiment, data: Dataset) -> tuple[Plan, dict[str, Variant]]:
    """Check, and return the plan too: making it is what finds missing models."""
    variants = experiment.sweep.variants()
    if experiment.budget is not None and experiment.budget.variants is not None:
        variants = dict(list(variants.items())[: experiment.budget.variants])
    plan = plan_of(experiment, variants)
    faults = [fault for metric in experiment.metrics if (fault := _cannot(metric, experiment, data))]
    faults += without_price(variants, experiment.metrics, Prices.load())
    if experiment.budget is not None and experiment.budget.dollars is not None:
        faults += sorted({fault for v in variants.values() for fault in _without_bound(v.generate)})
    faults += cannot_judge(experiment)
    if experiment.timing is not None and any(getattr(v.generate, "batched", False) for v in variants.values()):
        faults.append(
            "timing: a generator that hands in batches says nothing of latency; leave timing or batched out"
        )
    if faults:
        raise InputErrors(faults)
    return plan, variants


def _without_bound(generator: Generator) -> list[str]:
    """Say why nothing bounds what a paid generator may cost, where there is a limit."""
    if not getattr(generator, "paid", False):
        return []
    try:
        generator.at_most(Prompt("", (), (), ()))  # type: ignore[attr-defined]
    except InputError as error:
        return [f"budget: {error}"]
    return []


def _cannot(metric: Metric, experiment: Experiment, data: Dataset) -> str | None:
    """Say why a metric cannot be computed from this data; None if it can."""
    if metric.needs == "ranking" and len(data.unjudged) == len(data.queries):
        return f"data set {data.name}: none of its queries is judged, which {metric} needs"
    if metric.needs == "spans" and not applicable(data, metric):
        return f"data set {data.name}: no reference answer has evidence spans, which {metric} needs; leave it out"
    if metric.needs == "answers" and not data.answers:
        return f"data set {data.name}: no reference answers, which {metric} needs; leave it out"
    if metric.needs == "judge" and experiment.judge is None:
        return (
            f"metric {metric} needs a judge; give one (judge=Claude(...), in a spec judge: Claude), or leave it out"
        )
    if metric.needs in ("passages", "judge") and not applicable(data, metric):
        return f"data set {data.name}: no query has the references that {metric} needs; leave it out"
    if isinstance(metric, StreamMetric) and refused(metric):
        return f"metric {metric} is a rate of requests served; an evaluation asks one after the other, so use replay"
    if metric.needs == "latency" and experiment.timing is None:
        return f"metric {metric} needs latencies; give timing too, or leave it out"
    if isinstance(metric, CostMetric):
        try:
            metric.per_query(usage_of([], Prices(())))
        except MetricError as error:
            return f"metric {error}"
    if isinstance(metric, AnswerMetric):
        try:
            metric.score([], [], **dict.fromkeys(metric.context, ()))
        except MissingPackage as error:
            return f"metric {error}"
        except MetricError as error:
            return f"metric {error}; an evaluation cannot, so leave it out"
    return None


def _experiment(
    what: Experiment | Sweep | Variant,
    data: Dataset | None,
    metrics: Sequence[str | Metric] | str | Metric | None,
    timing: Timing | None,
    seed: int | None,
    name: str,
) -> Experiment:
    if isinstance(what, Experiment):
        if metrics is not None:
            what = replace(what, metrics=_metrics(metrics))
        return replace(what, timing=timing or what.timing, seed=what.seed if seed is None else seed)
    if isinstance(what, Variant):
        what = Sweep(what)
    if not isinstance(what, Sweep):
        raise InputError(f"run: an Experiment, a Sweep or a Variant is needed, not {type(what).__name__}")
    if data is None:
        raise InputError(
            "run: no data set; give one as the second argument, e.g. ek.load_dataset('datasets/handbook')"
        )
    return Experiment(
        name,
        data.name,
        what,
        _metrics(DEFAULT_METRICS if metrics is None else metrics),
        timing=timing,
        seed=seed or 0,
    )


def _metrics(names: Sequence[str | Metric] | str | Metric) -> tuple[Metric, ...]:
    try:
        return tuple(parse(name) for name in ([names] if isinstance(names, str | Metric) else names))
    except ValueError as error:
        raise InputError(str(error)) from None
