"""How a replay went, in numbers with intervals: latency, first words, rates, shares, dollars."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import InputError, nearest
from evalkit.metrics import (
    P50,
    P95,
    P99,
    DollarsPer1000,
    Estimate,
    FirstToken,
    Goodput,
    HitRate,
    Mean,
    MetricError,
    Throughput,
    Timeline,
)
from evalkit.serving.results.batches import means, quantile, share

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.serving.results.outcomes import Outcome, Replay

OUTCOMES = ("answered", "refused", "failed", "abandoned")
COLUMNS = ["metric", "value", "low", "high", "n", "unit", "origin"]
_answers = Goodput(first_token=sys.float_info.max)
"""Counts what has a first token at all: the answers, over the time from the first request to the last end."""


def summarise(replay: Replay) -> pd.DataFrame:
    """Return one row a number, each with its 95 % interval.

    Latency (``Mean``, ``P50``, ``P95``, ``P99``, and the mean of each layer's and stage's own time, 0 where a request
    did not come there) and first words (``FirstToken``) are those of the requests that were answered; an answer that
    came whole came with its first token. ``Throughput`` counts those too. Shares of outcomes, ``HitRate`` and dollars
    are of all requests. Where there is nothing to tell, the value is nan.

    Under load neighbours wait for one another; the intervals allow for it (see ``results.batches``), but those of the
    rates, which take what came for a Poisson process.
    """
    import pandas as pd

    rows = replay.per_request
    answered = (rows["outcome"] == "answered").to_numpy()
    own = [name for name in map(str, rows) if name == "queue_ms" or name.startswith("ms[")]
    ms = rows.loc[answered, "ms"].to_numpy()
    stages = means(rows.loc[answered, own].to_numpy(dtype=np.float64))
    names = [str(Mean(stage="queue" if name == "queue_ms" else name[3:-1])) for name in own]
    lines = timelines(replay)
    found: list[tuple[str, Estimate, str]] = [
        (str(Mean()), means(ms[:, None])[0], "ms"),
        *((str(metric), quantile(ms, metric.q), "ms") for metric in (P50(), P95(), P99())),
        *((str(m), quantile(m.samples(lines), m.q), "ms") for m in (FirstToken(), FirstToken(q=0.95))),
        (str(Throughput()), _estimate(partial(_answers.of, lines)), "1/s"),
        *((name, share(rows["outcome"] == name), "") for name in OUTCOMES),
        (str(HitRate()), share(rows["hit"] != ""), ""),
        (str(DollarsPer1000()), means(rows[["usd"]].to_numpy() * 1e3)[0], "$"),
        *((name, estimate, "ms") for name, estimate in zip(names, stages, strict=True)),
    ]
    table = [(name, e.value, e.low, e.high, e.n, unit, replay.origin) for name, e, unit in found]
    return pd.DataFrame(table, columns=COLUMNS)


def _estimate(of: Callable[[], Estimate]) -> Estimate:
    """An estimate, or nan where a metric has nothing to tell of."""
    try:
        return of()
    except MetricError as error:
        return Estimate(math.nan, 0.0, math.inf, 0, str(error))


def timelines(replay: Replay) -> list[Timeline]:
    """Return requests as the metrics of streams take them, in milliseconds from the traffic's start.

    An answer that came whole (a cache's, or one that was validated first) has one token, at its end; of a streamed
    one, its first piece stands for all. What was not answered has none.
    """
    return [_timeline(o, replay.start) for o in replay.outcomes]


def _timeline(o: Outcome, start: float) -> Timeline:
    called = next((e.start for e in o.events if e.kind == "call"), o.arrived)
    times = [1e3 * (t - start) for t in (o.arrived, min(max(called, o.arrived), o.first), o.first, o.ended)]
    return Timeline(times[0], times[1], (times[2],) if o.outcome == "answered" else (), times[3])


def goodput(replay: Replay, total: float | None = None, first_token: float | None = None) -> Estimate:
    """Return answered requests per second that kept all limits, in milliseconds on the whole and on the first token.

    Raises
    ------
    MetricError
        If the requests span no time.
    """
    limit = _answers.first_token if first_token is None else first_token
    return Goodput(total=total, first_token=limit).of(timelines(replay))


def latency_by(replay: Replay, by: str = "kind") -> pd.DataFrame:
    """Return how long answered requests took, by what stands in a column of `Replay.per_request`.

    Returns
    -------
    DataFrame
        A row a value of the column, in order of first appearance: ``n``, and in milliseconds ``mean`` with its
        interval ``low`` to ``high``, ``p50``, ``p95``, ``p99``, ``min``, ``max``.
    """
    import pandas as pd

    rows = replay.per_request
    if by not in rows:
        raise InputError(f"latency by '{by}': no such column{nearest(by, map(str, rows))}")
    rows = rows[rows["outcome"] == "answered"]
    found = []
    for value, group in rows.groupby(by, sort=False, dropna=False)["ms"]:
        ms = group.to_numpy()
        mean = means(ms[:, None])[0]
        percentiles = np.quantile(ms, [0.5, 0.95, 0.99]).tolist()
        found.append((value, len(ms), mean.value, mean.low, mean.high, *percentiles, ms.min(), ms.max()))
    return pd.DataFrame(found, columns=[by, "n", "mean", "low", "high", "p50", "p95", "p99", "min", "max"])


def chosen(replay: Replay, wanted: Mapping[str, str | bool]) -> Sequence[bool]:
    """Say for every request whether its columns hold what is wanted; see `Replay.where`."""
    rows = replay.per_request
    mask = np.ones(len(rows), dtype=np.bool_)
    for name, value in wanted.items():
        if name not in rows:
            raise InputError(f"where: no column '{name}'{nearest(name, map(str, rows))}")
        column = rows[name]
        mask &= (column.fillna("").astype(bool) == value if isinstance(value, bool) else column == value).to_numpy()
    if not mask.any():
        raise InputError(f"where: no request has {', '.join(f'{k}={v!r}' for k, v in wanted.items())}")
    kept: list[bool] = mask.tolist()
    return kept
