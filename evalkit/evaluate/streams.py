"""When the first words of an answer came, since the user asked: from timed requests whose answers were streamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.evaluate.timing import Samples
from evalkit.metrics import Estimate, FirstText, FirstToken, Metric, StreamMetric, Timeline
from evalkit.metrics.streaming import DelayMetric

USUAL: tuple[DelayMetric, ...] = (FirstToken(), FirstText())


class Streamed(NamedTuple):
    """A metric of first words or gaps: for every query that has it in milliseconds, and over all of them."""

    metric: DelayMetric
    queries: Sequence[str]
    values: Array
    estimate: Estimate


def streamed(samples: Samples, asked: Sequence[Metric]) -> list[Streamed]:
    """Return the metrics of streams that timed requests give: the usual ones, and what else was asked for.

    A query that was timed more than once counts with its first time. Queries whose answer has no piece of the kind
    (one that was not streamed, one without text) have no value.
    """
    first: dict[str, int] = {}
    for i, query in enumerate(samples.query):
        first.setdefault(query, i)
    found = []
    for metric in dict.fromkeys([*USUAL, *(m for m in asked if isinstance(m, DelayMetric))]):
        lines = {query: _timeline(samples, i, isinstance(metric, FirstText)) for query, i in sorted(first.items())}
        values = {query: metric.samples([line]) for query, line in lines.items()}
        known = [query for query, value in values.items() if value.size]
        if known:
            delays = np.concatenate([values[query] for query in known])
            found.append(Streamed(metric, known, delays, metric.of([lines[query] for query in known])))
    return found


def refused(metric: StreamMetric) -> bool:
    """Whether it takes traffic: a rate says nothing where one request waits for the other."""
    return not isinstance(metric, DelayMetric)


def _timeline(samples: Samples, row: int, of_text: bool) -> Timeline:
    """One request in milliseconds since it was asked."""
    pieces, text = samples.pieces[row].tolist(), int(samples.first_text[row])
    if of_text:
        pieces, text = pieces[text:], 0
    tokens = tuple(ns / 1e6 for ns in pieces)
    done = max(samples.total[row] / 1e6, tokens[-1] if tokens else 0.0)
    return Timeline(0.0, samples.called[row] / 1e6, tokens, float(done), min(text, max(len(tokens) - 1, 0)))
