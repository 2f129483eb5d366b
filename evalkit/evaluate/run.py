"""Running an experiment: plan, evaluate, time, score."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from evalkit.datasets import Dataset, load_dataset
from evalkit.errors import InputError, InputErrors
from evalkit.evaluate.execute import Context, Result, execute, sources
from evalkit.evaluate.experiment import DEFAULT_METRICS, Experiment
from evalkit.evaluate.plan import Plan, make_plan
from evalkit.evaluate.progress import progress
from evalkit.evaluate.results import Results
from evalkit.evaluate.score import Scorer, latencies, targets
from evalkit.evaluate.tables import tables
from evalkit.evaluate.timing import CONTROL, Samples, Timing, measure
from evalkit.machine import machine, versions
from evalkit.metrics import AnswerMetric, LatencyMetric, Metric, MetricError, parse
from evalkit.paths import project_root, store_dir
from evalkit.store import DiskStore
from evalkit.sweep import Sweep, parameters
from evalkit.types import CORPUS, QUERY, Digest, Store
from evalkit.variants import Variant


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

    Returns
    -------
    Results

    Raises
    ------
    InputError
        If anything in the spec or the data is wrong; nothing has been run then.
    EvalkitError
        If a stage fails.
    """
    if data is not None and not isinstance(data, Dataset):
        data = load_dataset(data)
    experiment = _experiment(what, data, metrics, timing, seed, name)
    data = data if data is not None else load_dataset(experiment.dataset, split=experiment.split)
    variants = check(experiment, data)
    store = store if store is not None else DiskStore(store_dir())
    started, clock = datetime.now(UTC), time.perf_counter()
    plan = plan_of(experiment, variants)
    with progress("evaluate", total=None) as bar:
        context = Context(store, bar.update)
        given = sources(data, experiment.seed, store)
        bar.reset(total=blocks_of(plan, given))
        done = execute(plan, given, context)
    samples: Mapping[str, Samples] = {}
    if experiment.timing is not None:
        timed = experiment.timing
        visits = (len(variants) + 1) * (timed.warmup + timed.repeats * min(timed.queries, len(data.queries)))
        with progress("time", total=visits) as bar:
            samples = measure(
                variants, experiment.sweep.base_label, data, done, context, timed,
                seed=experiment.seed, retime=retime, advance=bar.update,
            )  # fmt: skip
    scorer = Scorer(data, done, context)
    per_query, summary = tables(experiment, variants, plan, scorer, samples)
    manifest = {
        "spec": experiment.plain(),
        "parameters": {label: parameters(variant) for label, variant in variants.items()},
        "data": _describe(data, experiment.metrics),
        "versions": versions(),
        "machine": machine(),
        "commit": _commit(),
        "plan": {
            "nodes asked for": plan.asked,
            "nodes distinct": len(plan.work),
            "blocks": sum(len(done[n.recipe].blocks) for n in plan.work),
            "blocks from store": sum(done[n.recipe].from_store for n in plan.work),
        },
        "incomplete": dict(Counter(context.notes)),
        "control": _control(samples, experiment.sweep.base_label, experiment.seed),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 2),
    }
    systems = {label: variant.fingerprint for label, variant in variants.items()}
    return Results(summary, per_query, systems, experiment.sweep.base_label, manifest, variants)


def check(experiment: Experiment, data: Dataset) -> dict[str, Variant]:
    """Check all that can be checked before anything runs; returns the variants.

    Raises
    ------
    InputErrors
        If metrics cannot be computed from this data.
    MissingModel
        If a model that some variant names is not on this machine.
    """
    variants = experiment.sweep.variants()
    plan_of(experiment, variants)
    faults = [fault for metric in experiment.metrics if (fault := _cannot(metric, experiment, data))]
    if faults:
        raise InputErrors(faults)
    return variants


def _cannot(metric: Metric, experiment: Experiment, data: Dataset) -> str | None:
    """Say why a metric cannot be computed from this data; None if it can."""
    if metric.needs == "ranking" and len(data.unjudged) == len(data.queries):
        return f"data set {data.name}: none of its queries is judged, which {metric} needs"
    if metric.needs == "spans" and len(_without_evidence(data)) == len(data.queries):
        return f"data set {data.name}: no reference answer has evidence spans, which {metric} needs; leave it out"
    if metric.needs == "answers" and not data.answers:
        return f"data set {data.name}: no reference answers, which {metric} needs; leave it out"
    if metric.needs == "latency" and not isinstance(metric, LatencyMetric):
        return f"metric {metric} needs timelines of streamed answers, which an evaluation does not make"
    if metric.needs == "latency" and experiment.timing is None:
        return f"metric {metric} needs latencies; give timing too, or leave it out"
    if isinstance(metric, AnswerMetric):
        try:
            metric.score([], [])
        except MetricError as error:
            return f"metric {error}; an evaluation cannot, so leave it out"
    return None


def plan_of(experiment: Experiment, variants: Mapping[str, Variant]) -> Plan:
    """Return the plan of all that an experiment needs."""
    timed = experiment.timing is not None
    return make_plan({label: targets(v, experiment.metrics, timed) for label, v in variants.items()})


def blocks_of(plan: Plan, given: Mapping[Digest, Result]) -> int:
    """Return how many blocks a plan will work on, as far as is known beforehand: chunking sets no new blocks."""
    corpus, query = (len(given[source.recipe].blocks) for source in (CORPUS, QUERY))
    return sum(query if n.per_query else corpus if getattr(n.op, "row_wise", False) else 1 for n in plan.work)


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


def _control(samples: Mapping[str, Samples], base: str, seed: int) -> dict[str, float] | None:
    """Compare the base with itself: what timing says of a difference that is not there."""
    if CONTROL not in samples:
        return None
    from evalkit.metrics.statistics import paired

    found = paired(
        latencies(samples[base])["total"],
        latencies(samples[CONTROL])["total"],
        seed=seed,
        higher_is_better=False,
    )
    return {
        "difference_ms": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "n": found.n,
    }


def _without_evidence(data: Dataset) -> list[str]:
    """Queries whose answer names no place in the documents: left out of span metrics."""
    return [q for q in data.queries.id if q not in data.answers or not data.answers[q].evidence]


def _describe(data: Dataset, metrics: Sequence[Metric]) -> dict[str, Any]:
    spans = any(metric.needs == "spans" for metric in metrics)
    return {
        "name": data.name,
        "digest": data.digest,
        "documents": len(data.documents),
        "queries": len(data.queries),
        "judgements": sum(len(judged) for judged in data.qrels.values()),
        "unjudged queries": list(data.unjudged),
        **({"queries without evidence": _without_evidence(data)} if spans else {}),
    }


def _commit() -> str | None:
    """The checkout's commit, with ``+`` where files differ from it; None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],  # noqa: S607
            cwd=project_root(), capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
