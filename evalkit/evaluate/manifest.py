"""What is written down beside the numbers: data, versions, machine, plan, and what was left out and why."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.datasets import Dataset
from evalkit.evaluate.experiment import Experiment
from evalkit.evaluate.quality import Quality
from evalkit.evaluate.score import latencies
from evalkit.evaluate.timing import CONTROL, Samples
from evalkit.machine import machine, versions
from evalkit.metrics import Metric
from evalkit.paths import project_root
from evalkit.sweep import parameters


def manifest_of(
    experiment: Experiment,
    data: Dataset,
    quality: Quality,
    base: str,
    samples: Mapping[str, Samples],
    timed_on: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a run's manifest as plain data."""
    done = [quality.done[node.recipe] for node in quality.plan.work if node.recipe in quality.done]
    return {
        "spec": experiment.plain(),
        "parameters": {label: parameters(variant) for label, variant in quality.variants.items()},
        "data": _describe(data, experiment.metrics),
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
        "plan": {
            "nodes asked for": quality.plan.asked,
            "nodes distinct": len(quality.plan.work),
            "blocks": sum(len(result.blocks) for result in done),
            "blocks from store": sum(result.from_store for result in done),
        },
        "incomplete": dict(Counter(gap for result in done for gap in result.missing)),
        "base instead": None if base == experiment.sweep.base_label else base,
        "failed": dict(quality.failed),
        "unfinished": list(quality.unfinished),
        "overdue": quality.overdue,
        "stopped": {label: str(why) for label, why in quality.stopped.items()},
        "control": _control(samples, base, experiment.seed),
        **({"timed on": dict(timed_on)} if samples else {}),
    }


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


def without_evidence(data: Dataset) -> list[str]:
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
        **({"queries without evidence": without_evidence(data)} if spans else {}),
    }


def commit() -> str | None:
    """The checkout's commit, with ``+`` where files differ from it; None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],  # noqa: S607
            cwd=project_root(), capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
