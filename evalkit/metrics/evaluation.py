"""Evaluate a run against judgements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import Estimate, Metric, MetricError
from evalkit.metrics.graded import Graded, RankingMetric
from evalkit.metrics.grammar import parse
from evalkit.metrics.ids import Id, Integers
from evalkit.metrics.judgements import UNJUDGED, Qrels
from evalkit.metrics.ordering import by_score
from evalkit.metrics.ragged import blocks, padded, positions
from evalkit.metrics.rankings import Rankings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a run earned.

    Parameters
    ----------
    metrics : tuple of Metric
        What was measured.
    queries : tuple of str or int
        Judged queries, in the order of the judgements.
    values : NDArray[float64], shape (metrics, queries)
        One value for each metric and query.
    missing : tuple of str
        Judged queries for which the run returned nothing; they score zero.
    left_out : tuple of str
        Queries of the run without judgement; they are in no mean.
    """

    metrics: tuple[Metric, ...]
    queries: tuple[Id, ...]
    values: NDArray[np.float64]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]

    @cached_property
    def means(self) -> dict[str, float]:
        """Mean over all judged queries, by metric name."""
        return {str(m): float(row.mean()) for m, row in zip(self.metrics, self.values, strict=True)}

    @cached_property
    def per_query(self) -> pd.DataFrame:
        """One row for each judged query, one column for each metric name."""
        import pandas as pd

        index = pd.Index(self.queries, name="query")
        return pd.DataFrame(self.values.T, index=index, columns=[str(m) for m in self.metrics])

    def intervals(
        self, *, seed: int = 0, level: float = 0.95, resamples: int = 10_000, method: str = "auto"
    ) -> dict[str, Estimate]:
        """Return the mean and its interval over queries, by metric name; see `statistics.mean_intervals`."""
        from evalkit.metrics.statistics import mean_intervals

        estimates = mean_intervals(self.values.T, seed=seed, level=level, resamples=resamples, method=method)
        return dict(zip(map(str, self.metrics), estimates, strict=True))


def evaluate(run: Any, qrels: Any, metrics: Iterable[str | Metric] | str | Metric) -> Evaluation:
    """Evaluate a run against judgements.

    Documents are ordered by score descending, then id ascending. A judged query without results scores zero
    and stays in the mean; a query without judgement is named in `Evaluation.left_out`.

    Parameters
    ----------
    run : Rankings, or whatever `Rankings.of` reads
        Dicts, a data frame, the path of a TREC run, or arrays by way of `Rankings.from_arrays`.
    qrels : Qrels, or whatever `Qrels.of` reads
        Compile them once with `Qrels.of` to evaluate many runs.
    metrics : Metric or str, or several
        Ranking metrics.

    Raises
    ------
    MetricError
        If an input is malformed, a metric is unknown or not one of rankings, or run and judgements have no
        query in common though neither is empty.

    Examples
    --------
    >>> evaluate({"q": ["d1", "d2"]}, {"q": {"d2": 1}}, ["MRR@10"]).means
    {'MRR@10': 0.5}
    """
    wanted = [metrics] if isinstance(metrics, str | Metric) else list(metrics)
    values = tuple(_ranking(parse(metric)) for metric in wanted)
    rankings, judged = Rankings.of(run), Qrels.of(qrels)
    if rankings.vocabulary is not None and not judged.numbered:
        judged = judged.encode(rankings.vocabulary)
    _check_comparable(rankings, judged)
    rows, left_out = _matched(rankings, judged)
    lengths = np.where(rows >= 0, np.append(rankings.lengths, 0)[rows], 0)
    out = np.empty((len(values), len(judged)))
    for start, stop in blocks(np.maximum(lengths, np.diff(judged.offsets))):
        graded = _graded(rankings, judged, rows[start:stop], lengths[start:stop], start)
        for metric, row in zip(values, out, strict=True):
            row[start:stop] = metric.per_query(graded)
    return Evaluation(
        metrics=values,
        queries=judged.queries,
        values=out,
        missing=tuple(str(judged.queries[i]) for i in np.flatnonzero(lengths == 0)),
        left_out=left_out,
    )


def _ranking(metric: Metric) -> RankingMetric:
    if not isinstance(metric, RankingMetric):
        raise MetricError(f"{metric} is computed from {metric.needs}, not from rankings; leave it out")
    return metric


def _check_comparable(run: Rankings, qrels: Qrels) -> None:
    """Refuse ids that can never match."""
    if not len(run) or not len(run.documents):
        return
    if run.numbered != qrels.numbered:
        numbered, named = ("run", "judgements") if run.numbered else ("judgements", "run")
        raise MetricError(
            f"documents are numbers in the {numbered} and names in the {named}; use one, or give a vocabulary"
        )
    if not any(query in qrels.index for query in run.queries):
        ours, theirs = run.queries[0], qrels.queries[0]
        raise MetricError(f"no query of the run is judged: the run has {ours!r}, the judgements {theirs!r}")


def _matched(run: Rankings, qrels: Qrels) -> tuple[Integers, tuple[str, ...]]:
    """Return the row in the run of each judged query, -1 for none, and the queries of the run not judged."""
    if run.queries == qrels.queries:
        return np.arange(len(run)), ()
    rows = np.fromiter((run.index.get(query, -1) for query in qrels.queries), dtype=np.int64)
    return rows, tuple(str(query) for query in run.queries if query not in qrels.index)


def _graded(run: Rankings, qrels: Qrels, rows: Integers, lengths: Integers, start: int) -> Graded:
    """Join the rankings of some queries with their judgements, the queries of `qrels` from `start` on."""
    starts, queries = run.offsets[rows], np.arange(start, start + rows.size)
    at = positions(starts, lengths)
    if isinstance(run.documents, np.ndarray):
        grades = qrels.grade_numbers(queries, padded(run.documents[at], lengths, 0))
        if (lengths < grades.shape[1]).any():
            grades[np.arange(grades.shape[1]) >= lengths[:, None]] = UNJUDGED
    else:
        grades = padded(_grade_names(run.documents, qrels, queries, starts, lengths), lengths, UNJUDGED)
    if run.scores is not None and grades.size:
        scores = padded(run.scores[at], lengths, -np.inf)
        grades = by_score(grades, scores, lambda i, column: _ids(run, starts[i] + column))
    return Graded(np.ascontiguousarray(grades.T), lengths, qrels.ideal(start, start + rows.size))


def _grade_names(
    documents: list[str], qrels: Qrels, queries: Integers, starts: Integers, lengths: Integers
) -> NDArray[np.float64]:
    """Return the grades of named documents, one ranking after the other."""
    looked_up = (
        qrels.grade_names(query, documents[start : start + length])
        for query, start, length in zip(queries.tolist(), starts.tolist(), lengths.tolist(), strict=True)
    )
    return np.fromiter(chain.from_iterable(looked_up), dtype=np.float64, count=int(lengths.sum()))


def _ids(run: Rankings, positions: Integers) -> Integers | list[Any]:
    """Return document ids, by name where they have one."""
    if not isinstance(run.documents, np.ndarray):
        return [run.documents[i] for i in positions.tolist()]
    numbers = run.documents[positions]
    return numbers if run.vocabulary is None else [run.vocabulary[number] for number in numbers.tolist()]
