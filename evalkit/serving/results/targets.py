"""Targets: is it fast, cheap and right enough? Met, missed, or not to be said from so few requests."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from evalkit.errors import InputError
from evalkit.metrics import (
    P50,
    P95,
    P99,
    DollarsPer1000,
    Estimate,
    FirstToken,
    HitRate,
    Mean,
    ServedWrong,
    Throughput,
    WrongShare,
)

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.serving.results.outcomes import Replay

Verdict = Literal["pass", "fail", "inconclusive"]
Limit = float | tuple[float, float, float]
LEVELS = ("target", "acceptable", "maximum")


@dataclass(frozen=True)
class Targets:
    """Limits on the numbers of a replay, each one number or three: target, acceptable, maximum, from strict to loose.

    A limit that is reached exactly is kept. None: no limit.

    Parameters
    ----------
    mean_ms, p50_ms, p95_ms, p99_ms : float or tuple of 3, optional
        At most so many milliseconds, of the requests that were answered.
    first_p50_ms, first_p95_ms : float or tuple of 3, optional
        At most so many milliseconds to the first token.
    rate : float or tuple of 3, optional
        At least so many answered requests per second.
    answered : float or tuple of 3, optional
        At least this share of all requests.
    hit_rate : float or tuple of 3, optional
        At least this share of all requests answered by caches.
    wrong_share, served_wrong : float or tuple of 3, optional
        At most this share of the hits, of the requests that can be judged.
    usd_per_1000 : float or tuple of 3, optional
        At most so many dollars for 1,000 requests.
    """

    mean_ms: Limit | None = None
    p50_ms: Limit | None = None
    p95_ms: Limit | None = None
    p99_ms: Limit | None = None
    first_p50_ms: Limit | None = None
    first_p95_ms: Limit | None = None
    rate: Limit | None = None
    answered: Limit | None = None
    hit_rate: Limit | None = None
    wrong_share: Limit | None = None
    served_wrong: Limit | None = None
    usd_per_1000: Limit | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            given = getattr(self, field.name)
            if isinstance(given, list):  # as YAML has it
                given = tuple(given)
                object.__setattr__(self, field.name, given)
            numbers = _levels(given)
            if isinstance(given, tuple) and len(given) != len(LEVELS):
                raise InputError(f"Targets: {field.name} has {len(given)} levels; give one, or {', '.join(LEVELS)}")
            if any(_no_number(x) for x in numbers):
                raise InputError(f"Targets: {field.name} is {given!r}; limits are numbers from 0")
            strict = sorted(numbers, reverse=field.name in _AT_LEAST)
            if list(numbers) != strict:
                raise InputError(f"Targets: {field.name} is {given!r}; each level must be looser than the one before")

    @property
    def limits(self) -> dict[str, tuple[float, ...]]:
        """Those that are given, as one or three numbers."""
        return {f.name: _levels(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None}


_AT_LEAST = frozenset(("rate", "answered", "hit_rate"))
_METRIC = {
    "mean_ms": str(Mean()), "p50_ms": str(P50()), "p95_ms": str(P95()), "p99_ms": str(P99()),
    "first_p50_ms": str(FirstToken()), "first_p95_ms": str(FirstToken(q=0.95)),
    "rate": str(Throughput()), "answered": "answered", "hit_rate": str(HitRate()),
    "wrong_share": str(WrongShare()), "served_wrong": str(ServedWrong()), "usd_per_1000": str(DollarsPer1000()),
}  # fmt: skip


def _levels(given: Limit | None) -> tuple[float, ...]:
    return () if given is None else given if isinstance(given, tuple) else (given,)


def _no_number(value: object) -> bool:
    return isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf


def verdict(low: float, high: float, limit: float, *, at_least: bool = False) -> Verdict:
    """Say whether an interval lies on the good side of a limit, on the bad one, or on both."""
    if math.isnan(low) or math.isnan(high):
        return "inconclusive"
    if at_least:
        return "pass" if low >= limit else "fail" if high < limit else "inconclusive"
    return "pass" if high <= limit else "fail" if low > limit else "inconclusive"


def check(replay: Replay, targets: Targets) -> pd.DataFrame:
    """Say for each limit whether it is kept, by the 95 % interval of the number.

    Returns
    -------
    DataFrame
        A row a limit: ``target`` (as `Targets` names it), ``level``, ``limit``, ``at_least`` (or at most), ``value``,
        ``low``, ``high``, ``n``, ``unit``, ``verdict`` (``pass``, ``fail``, ``inconclusive``), ``origin``.
    """
    import pandas as pd

    rows = []
    for name, limits in targets.limits.items():
        e, unit = _measured(replay, name)
        levels = LEVELS if len(limits) > 1 else ("limit",)
        at_least = name in _AT_LEAST
        for level, limit in zip(levels, limits, strict=True):
            said = "inconclusive" if math.isnan(e.value) else verdict(e.low, e.high, limit, at_least=at_least)
            rows.append((name, level, limit, at_least, e.value, e.low, e.high, e.n, unit, said, replay.origin))
    columns = ["target", "level", "limit", "at_least", "value", "low", "high", "n", "unit", "verdict", "origin"]
    return pd.DataFrame(rows, columns=columns)


def _measured(replay: Replay, name: str) -> tuple[Estimate, str]:
    if name in ("wrong_share", "served_wrong"):
        metric = WrongShare() if name == "wrong_share" else ServedWrong()
        return metric.of(replay.lookups()), ""
    rows = replay.summary[replay.summary["metric"] == _METRIC[name]]
    value, low, high, n = (float(rows[column].iloc[0]) for column in ("value", "low", "high", "n"))
    return Estimate(value, low, high, int(n), ""), str(rows["unit"].iloc[0])
