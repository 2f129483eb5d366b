"""Numbers that others state of latencies: what they imply, and whether they contradict themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan

from evalkit.metrics import MetricError, Summary

_HEAVY = 5.0
"""A tail that must average so many times the highest percentile is worth a word."""


@dataclass(frozen=True)
class Implied:
    """What a mean with percentiles and extremes implies.

    Parameters
    ----------
    consistent : bool
        Whether any sample has these numbers.
    says : str
        One line: the contradiction, or what the slowest requests must have taken.
    tail_mean : float
        What the requests above the highest percentile average at least, in ms.
    mean_low, mean_high : float
        The means in ms that the other numbers allow. As `tail_mean`, nan where they contradict themselves.
    """

    consistent: bool
    says: str
    tail_mean: float
    mean_low: float
    mean_high: float


def implied(
    mean: float,
    percentiles: Mapping[float, float] | None = None,
    *,
    minimum: float = 0.0,
    maximum: float = inf,
    count: int | None = None,
    tolerance: float = 0.0,
) -> Implied:
    """Say what stated numbers of a latency imply, all in ms.

    A mean of 206 ms with a p95 of 1 ms asks the slowest twentieth to average at least 4,101 ms: with a stated maximum
    of 500 ms it is a contradiction.

    Parameters
    ----------
    mean : float
    percentiles : {percent: ms}, optional
        ``{50: 12.0, 95: 38.0}``.
    minimum, maximum : float
    count : int, optional
        Number of samples.
    tolerance : float
        Rounding of the stated numbers.
    """
    given = dict(percentiles or {})
    try:
        found = Summary(mean, given, minimum, maximum, count=count, tolerance=tolerance)
    except MetricError as error:
        return Implied(False, str(error), nan, nan, nan)
    tail = found.tail_mean()
    low, high = found.mean_bounds()
    if not given:
        says = "consistent: no percentile is stated, so the mean says nothing of the tail"
        return Implied(True, says, tail, low, high)
    top = max(given)
    says = f"consistent: the slowest {100 - top:g} % average at least {max(tail, given[top]):,.0f} ms"
    if tail > _HEAVY * given[top]:
        says += f", while all others take at most {given[top]:,.0f} ms; look at the samples"
    return Implied(True, says, max(tail, given[top]), low, high)
