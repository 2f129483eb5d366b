"""From judgements to the rows of the two tables.

A metric ``Faithfulness`` gives these rows, beside its mean over what was judged:

- ``Faithfulness[failed]``: the share of judgements that failed. Always there.
- ``Faithfulness[worst]`` and ``[best]``: the mean with every failed judgement at the bottom and the top of the scale;
  there when some failed. The truth lies between them, whatever the failed ones hid.
- ``Faithfulness[noise]``: with repeats, the standard deviation of one judgement about its case's mean.

And for each system ``JudgeCalls``, ``JudgeTokens`` and, where the price is known, ``JudgeDollars``: what its
judgements took in all, apart from what the system took.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.evaluate.judging.bench import JudgeBill, Judgements
from evalkit.metrics import Estimate


class Row(NamedTuple):
    """A summary's row without its system."""

    metric: str
    estimate: Estimate
    unit: str


def per_query(judgements: Judgements) -> list[tuple[Sequence[str], str, Array]]:
    """Return what stands in the table per query: the mean of the repeats, and the share of them that failed."""
    name, known = str(judgements.metric), ~np.isnan(judgements.values)
    kept = known.any(axis=1)
    sums = np.where(known, judgements.values, 0.0)[kept].sum(axis=1)
    judged = [judgements.queries[i] for i in np.flatnonzero(kept)]
    tried = known | judgements.failed
    asked = tried.any(axis=1)
    share = judgements.failed[asked].sum(axis=1) / tried[asked].sum(axis=1)
    reached = [judgements.queries[i] for i in np.flatnonzero(asked)]
    return [(judged, name, sums / known[kept].sum(axis=1)), (reached, f"{name}[failed]", share)]


def rows_of(judgements: Judgements, seed: int) -> Iterator[Row]:
    """Yield one metric's rows of the summary."""
    from evalkit.metrics.statistics import (
        clustered_proportion_interval,
        filled_mean,
        proportion_interval,
        repeat_noise,
        repeated_mean,
    )

    name, failed, values = str(judgements.metric), judgements.failed, judgements.values
    yield Row(name, repeated_mean(values, seed=seed), judgements.metric.unit)
    tried = failed | ~np.isnan(values)
    if judgements.metric.repeats == 1:
        share = proportion_interval(int(failed.sum()), int(tried.sum()))
    else:
        share = clustered_proportion_interval(failed[tried], np.nonzero(tried)[0])
    yield Row(f"{name}[failed]", share, "share")
    if failed.any():
        for end, fill in zip(("worst", "best"), _ends(judgements), strict=True):
            yield Row(f"{name}[{end}]", filled_mean(values, failed, fill, seed=seed), judgements.metric.unit)
    if judgements.metric.repeats > 1:
        low, high = judgements.metric.range
        yield Row(f"{name}[noise]", repeat_noise(values, scale=high - low, seed=seed), "sd")


def bill_rows(bill: JudgeBill, queries: int) -> Iterator[Row]:
    """Yield what a system's judgements took: counted, or open above where a final usage did not arrive."""
    spent: Mapping[str, tuple[float | None, str]] = {
        "JudgeCalls": (float(bill.calls), "calls"),
        "JudgeTokens": (float(bill.usage.prompt + bill.usage.output), "tokens in all"),
        "JudgeDollars": (bill.dollars, "$ in all"),
    }
    for name, (value, unit) in spent.items():
        if value is not None:
            known = bill.complete or name == "JudgeCalls"
            high, how = (value, "counted") if known else (math.inf, "a lower bound: a final usage did not arrive")
            yield Row(name, Estimate(value, value, high, queries, how), unit)


def _ends(judgements: Judgements) -> tuple[float, float]:
    low, high = judgements.metric.range
    return (low, high) if judgements.metric.higher_is_better else (high, low)
