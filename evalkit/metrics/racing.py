"""Races: systems that cannot be the best any more are stopped before all queries were asked.

Queries come in random order from a finite set. The bets are those of `sequential`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.errors import InputErrors
from evalkit.metrics.base import Metric, MetricError
from evalkit.metrics.grammar import parse
from evalkit.metrics.sequential import as_shares, log_capital

__all__ = ["Race", "Stopped", "race"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Race:
    """How a sweep is raced: systems that cannot be the best any more are stopped early.

    Parameters
    ----------
    metric : Metric
        Decides. Its values must lie between two finite ends.
    block : int
        Queries after which systems may be stopped.
    level : float
        Probability with which the system that is best on all queries is never stopped.

    Raises
    ------
    InputErrors
        For a metric without ends, a block below 1, a level that is not between 0 and 1.
    """

    metric: Metric
    block: int = 64
    level: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", parse(self.metric))
        wrong = []
        if not all(map(math.isfinite, self.metric.range)):
            wrong.append(("metric", f"{self.metric} has no largest value; name one that has"))
        if self.block < 1:
            wrong.append(("block", f"is {self.block}; it must be at least 1"))
        if not 0 < self.level < 1:
            wrong.append(("level", f"is {self.level}; it must lie between 0 and 1"))
        if wrong:
            raise InputErrors([f"Race: {what}" for _, what in wrong], [(key,) for key, _ in wrong])


@dataclass(frozen=True)
class Stopped:
    """Why a system is out of the race.

    Parameters
    ----------
    queries : int
        Queries that it was measured on.
    leader : str
        The system that was best on them.
    difference : float
        Mean of the system minus mean of the leader, on them.
    behind : float
        With probability `level`, the best system is better than this one by at least so much on all queries.
    level : float
    """

    queries: int
    leader: str
    difference: float
    behind: float
    level: float

    def __str__(self) -> str:
        return (
            f"stopped after {self.queries:,} queries: {self.difference:+.4g} against {self.leader}; "
            f"at least {self.behind:.4g} behind the best (level {self.level:g})"
        )


def race(
    scores: Mapping[str, ArrayLike],
    population: int,
    *,
    low: float = 0.0,
    high: float = 1.0,
    level: float = 0.95,
    higher_is_better: bool = True,
) -> dict[str, Stopped]:
    """Return which systems are out now: those that some other one certainly beats on all queries.

    With probability at least `level`, the system that is best on the whole set is never stopped, however many systems
    there are and however often this is asked.

    Parameters
    ----------
    scores : {system: array of shape (t,)}
        Values of the first queries, in one random order that all systems share. Those of a system that was stopped
        end where it was; it is not judged again.
    population : int
        Queries in all.
    low, high : float
        Smallest and largest value of the metric.
    level : float
    higher_is_better : bool
        Direction of the metric.

    Returns
    -------
    {system: Stopped}
        In the order of `scores`.

    Raises
    ------
    MetricError
        If a system has no value, one not between `low` and `high`, or more than `population`.

    Notes
    -----
    Against every system one bets, query by query, that the leader on the queries before beats it. If the system is
    the best, no such bet is in anyone's favour, whoever leads; so only the game against the best system can err, and
    no correction for the number of systems is needed. `Stopped.behind` is the largest gap that is refused alike.
    """
    names = sorted(scores)
    sign = 1.0 if higher_is_better else -1.0
    columns = {name: np.asarray(scores[name], dtype=np.float64) for name in names}
    for name, column in columns.items():
        if column.ndim != 1:
            raise MetricError(f"system {name!r}: values of shape {column.shape}; give one value of each query")
        as_shares(column, low, high, population, level, f"system {name!r}")
    t = max((column.size for column in columns.values()), default=0)
    values = np.zeros((len(names), t))
    there = np.zeros((len(names), t), dtype=bool)
    for i, column in enumerate(columns.values()):
        values[i, : column.size], there[i, : column.size] = sign * column, True
    racing = np.flatnonzero(there[:, -1]) if names else np.zeros(0, dtype=np.int64)
    if racing.size < 2:
        return {}
    before = np.cumsum(values, axis=1) - values
    leaders = np.where(there, before, -np.inf).argmax(axis=0)
    at, width = np.arange(t), high - low
    shares = ((values[leaders, at] - values[racing]) / width + 1) / 2
    ahead = before[leaders, at] - before[racing]

    def out(rows: NDArray[Any], gaps: Floats) -> NDArray[np.bool_]:
        """Whether the racing systems of these rows are certainly further behind the best than the gaps."""
        limits = ((population * gaps[:, None] - ahead[rows]) / (population - at) / width + 1) / 2
        found: NDArray[np.bool_] = log_capital(shares[rows], limits).max(axis=1) >= -math.log1p(-level)
        return found

    rows = np.flatnonzero(out(np.arange(racing.size), np.zeros(racing.size)))
    behind, beyond = np.zeros(rows.size), np.full(rows.size, width)
    for _ in range(20):
        middle = (behind + beyond) / 2
        further = out(rows, middle)
        behind, beyond = np.where(further, middle, behind), np.where(further, beyond, middle)
    means = values[racing].mean(axis=1)
    best = int(means.argmax())
    stopped = {
        names[racing[row]]: Stopped(t, names[racing[best]], float(sign * (means[row] - means[best])), gap, level)
        for row, gap in zip(rows.tolist(), behind.tolist(), strict=True)
    }
    return {name: stopped[name] for name in scores if name in stopped}
