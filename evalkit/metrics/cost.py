"""Metrics of tokens and dollars."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import Definition, Estimate, Metric, MetricError, Need

__all__ = ["CostMetric", "DollarsPer1000", "DollarsPerQuery", "Tokens", "Usage"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Usage:
    """What calls to models used.

    Parameters
    ----------
    queries : int
        Queries served, those without a call included: the denominator.
    query : array of int, shape (calls,)
        Query that each call was made for, 0 to queries - 1.
    model, stage : sequence of str, length calls
        Model and pipeline stage of each call.
    tokens : mapping from kind to array, shape (calls,)
        Tokens of each call by kind: "input", "output", "cache_read", ...
    dollars : array, shape (calls,)
        Price of each call.

    Raises
    ------
    MetricError
        If lengths differ, a query is out of range, or a count or price is negative or not finite.
    """

    queries: int
    query: NDArray[np.int64]
    model: Sequence[str]
    stage: Sequence[str]
    tokens: Mapping[str, ArrayLike]
    dollars: Floats

    def __post_init__(self) -> None:
        calls = np.asarray(self.query, dtype=np.int64)
        if self.queries < 1:
            raise MetricError(f"usage: {self.queries} queries; a cost per query needs at least one")
        if calls.size and not 0 <= calls.min() <= calls.max() < self.queries:
            raise MetricError(f"usage: a call belongs to query {calls.max()}, outside 0 to {self.queries - 1}")
        tokens = {kind: np.asarray(counts, dtype=np.float64) for kind, counts in self.tokens.items()}
        dollars = np.asarray(self.dollars, dtype=np.float64)
        for name, column in {"dollars": dollars, **tokens}.items():
            if column.shape != calls.shape or not (np.isfinite(column) & (column >= 0)).all():
                raise MetricError(f"usage: {name} must be one finite number, not negative, for each call")
        if not len(self.model) == len(self.stage) == calls.size:
            raise MetricError(f"usage: {len(self.model)} models and {len(self.stage)} stages for {calls.size} calls")
        object.__setattr__(self, "query", calls)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "dollars", dollars)


@dataclass(frozen=True)
class CostMetric(Metric):
    """A mean per query of what some calls used.

    Parameters
    ----------
    model, stage : str, optional
        Count calls of this model, of this stage; without them all.
    """

    needs: ClassVar[Need] = "cost"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, np.inf)
    model: str | None = None
    stage: str | None = None

    def per_query(self, usage: Usage) -> Floats:
        """Return what each query used, 0 for one without a call. Shape (queries,)."""
        chosen = np.ones(usage.query.size, dtype=np.bool_)
        for field, names in (("model", usage.model), ("stage", usage.stage)):
            wanted = getattr(self, field)
            if wanted is not None:
                chosen &= np.array([name == wanted for name in names], dtype=np.bool_)
        amounts = self._amounts(usage)[chosen]
        used = np.bincount(usage.query[chosen], weights=amounts, minlength=usage.queries)
        return used.astype(np.float64)

    def of(self, usage: Usage, *, seed: int = 0, level: float = 0.95) -> Estimate:
        """Return the mean over queries and its interval; see `statistics.mean_interval`."""
        from evalkit.metrics.statistics import mean_interval

        return mean_interval(self.per_query(usage), seed=seed, level=level)

    @abstractmethod
    def _amounts(self, usage: Usage) -> Floats:
        """Return what each call used. Shape (calls,)."""


def _define(formula: str) -> Definition:
    return Definition(
        formula=formula,
        source="the provider's price list, applied to each call",
        denominator="all queries served",
        empty="a query without a call costs 0 and stays in the mean",
    )


@dataclass(frozen=True)
class Tokens(CostMetric):
    """Tokens per query.

    Parameters
    ----------
    model, stage : str, optional
        Count calls of this model, of this stage; without them all.
    kind : str, optional
        As the records name them; in an evaluation "input", "cache_write_5m", "cache_write_1h", "cache_read" and
        "output". Without it all kinds.
    """

    unit: ClassVar[str] = "tokens"
    kind: str | None = None
    definition: ClassVar[Definition] = _define("tokens of the calls of a query, averaged over queries")

    def _amounts(self, usage: Usage) -> Floats:
        if self.kind is not None and self.kind not in usage.tokens:
            raise MetricError(f"{self}: no tokens of this kind; there are {', '.join(usage.tokens)}")
        kinds = usage.tokens if self.kind is None else [self.kind]
        return sum((np.asarray(usage.tokens[kind], dtype=np.float64) for kind in kinds), np.zeros(usage.query.size))


@dataclass(frozen=True)
class DollarsPerQuery(CostMetric):
    """Dollars per query."""

    unit: ClassVar[str] = "$"
    definition: ClassVar[Definition] = _define("price of the calls of a query, averaged over queries")

    def _amounts(self, usage: Usage) -> Floats:
        return usage.dollars


@dataclass(frozen=True)
class DollarsPer1000(CostMetric):
    """Dollars per 1,000 queries."""

    unit: ClassVar[str] = "$"
    definition: ClassVar[Definition] = _define("1,000 times the price of the calls of a query, averaged")

    def _amounts(self, usage: Usage) -> Floats:
        return 1000.0 * usage.dollars
