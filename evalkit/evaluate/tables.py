"""The two tables of results: a value for every query, and what they amount to, with intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.columns import Array
from evalkit.evaluate.experiment import Experiment
from evalkit.evaluate.judging.rows import bill_rows, rows_of
from evalkit.evaluate.judging.rows import per_query as judged_per_query
from evalkit.evaluate.judging.run import NOT_JUDGED, JudgedRun
from evalkit.evaluate.plan import Plan
from evalkit.evaluate.results import SUMMARY_COLUMNS
from evalkit.evaluate.score import Scored, Scorer, latencies
from evalkit.evaluate.streams import streamed
from evalkit.evaluate.timing import Samples, corpus_nodes, origins
from evalkit.metrics import P50, P95, P99, Estimate, LatencyMetric, Mean, Metric
from evalkit.variants import Variant

if TYPE_CHECKING:
    import pandas as pd

_LATENCY = (Mean, P50, P95, P99)
_COSTS = ("$", "tokens")
_AT_ONCE = 256
"""Columns resampled together: each takes 10,000 numbers several times over."""
_UNDEFINED = Estimate(math.nan, -math.inf, math.inf, 0, "undefined: it applies to no query")


def tables(
    experiment: Experiment,
    variants: Mapping[str, Variant],
    plan: Plan,
    scorer: Scorer,
    samples: Mapping[str, Samples],
    judged: JudgedRun = NOT_JUDGED,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every variant; return the table per query and the summary."""
    import pandas as pd

    scored = {label: scorer.score(plan.wanted[label], experiment.metrics) for label in variants}
    estimates = _intervals(scored, experiment.seed)
    per_query: list[tuple[str, Sequence[str], str, Array]] = []
    summary: list[tuple[Any, ...]] = []
    for label, variant in variants.items():
        own = (label, variant.fingerprint)
        per_query += [(label, one.queries, one.metric, one.values) for one in scored[label]]
        means = [(one, estimates[label, one.metric]) for one in scored[label]]
        summary += [(*own, one.metric, *_numbers(mean), one.unit, one.origin) for one, mean in means]
        for found in judged.scores.get(label, ()):
            per_query += [(label, *columns) for columns in judged_per_query(found)]
            judged_rows = [*rows_of(found, experiment.seed)]
            summary += [(*own, m, *_numbers(e), unit, judged.origins[label]) for m, e, unit in judged_rows]
        if label in judged.bills:
            spent = bill_rows(judged.bills[label], len(scorer.asked))
            summary += [(*own, m, *_numbers(e), unit, judged.origins[label]) for m, e, unit in spent]
        for fact in scorer.facts(plan.wanted[label], _max_length(variant)):
            summary.append((*own, fact.metric, fact.value, fact.value, fact.value, fact.n, fact.unit, "measured"))
        if label in samples:
            asked, where = sorted(set(samples[label].query)), origins(variant)
            for stage, values in latencies(samples[label]).items():
                per_query.append((label, asked, "ms" if stage == "total" else f"ms[{stage}]", values))
                origin = where.get(stage, "measured")
                summary += [(*own, *row, origin) for row in _latency_rows(stage, values, experiment.metrics)]
            for one in streamed(samples[label], experiment.metrics):
                per_query.append((label, one.queries, str(one.metric), one.values))
                origin = where.get("total", "measured")
                summary.append((*own, str(one.metric), *_numbers(one.estimate), one.metric.unit, origin))
    return _long(per_query), pd.DataFrame(summary, columns=list(SUMMARY_COLUMNS))


def _intervals(scored: Mapping[str, Sequence[Scored]], seed: int) -> dict[tuple[str, str], Estimate]:
    """Return every mean and its interval; samples of one size share resamples, equal ones the interval."""
    from evalkit.metrics.statistics import mean_intervals

    alike: dict[int, dict[bytes, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for label, found in scored.items():
        for one in found:
            alike[len(one.values)][one.values.tobytes()].append((label, one.metric))
    estimates: dict[tuple[str, str], Estimate] = {}
    for columns in alike.values():
        distinct = list(columns)
        for start in range(0, len(distinct), _AT_ONCE):
            some = distinct[start : start + _AT_ONCE]
            matrix = np.column_stack([np.frombuffer(values) for values in some])
            if not matrix.size:
                estimates |= dict.fromkeys(columns[some[0]], _UNDEFINED)
                continue
            for values, estimate in zip(some, mean_intervals(matrix, seed=seed), strict=True):
                estimates |= dict.fromkeys(columns[values], estimate)
    free = {(label, one.metric): one for label, found in scored.items() for one in found if one.unit in _COSTS}
    for key, one in free.items():
        if not one.values.any():  # counted, and no share that might have been otherwise
            estimates[key] = Estimate(0.0, 0.0, 0.0, len(one.values), "nothing is known to have been used")
    return estimates


def _numbers(found: Estimate) -> tuple[float, float, float, int]:
    return found.value, found.low, found.high, found.n


def _latency_rows(stage: str, values: Array, asked: Sequence[Metric]) -> Iterator[tuple[Any, ...]]:
    """The usual statistics of one stage, and what else was asked for."""
    own = None if stage == "total" else stage
    usual = [kind(stage=own) for kind in _LATENCY]
    for metric in dict.fromkeys([*usual, *(m for m in asked if isinstance(m, LatencyMetric) and m.stage == own)]):
        yield str(metric), *_numbers(metric.of(values)), metric.unit


def _long(columns: Sequence[tuple[str, Sequence[str], str, Array]]) -> pd.DataFrame:
    """One row a system, metric and query; built at once, as many small frames cost more than the work."""
    import pandas as pd

    sizes = [len(values) for *_, values in columns]
    return pd.DataFrame(
        {
            "variant": np.repeat(np.array([label for label, *_ in columns], dtype=object), sizes),
            "query": [query for _, queries, _, _ in columns for query in queries],
            "metric": np.repeat(np.array([metric for _, _, metric, _ in columns], dtype=object), sizes),
            "value": np.concatenate([np.asarray(values, dtype=np.float64) for *_, values in columns]),
        }
    )


def _max_length(variant: Variant) -> int | None:
    """The number of tokens after which the variant's embedder cuts; None where it has no embedder."""
    found = (getattr(node.op, "max_length", None) for node in corpus_nodes(variant))
    return next((length for length in found if length is not None), None)
