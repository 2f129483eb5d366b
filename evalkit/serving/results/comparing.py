"""Is the other service better? Replays of the same traffic, request by request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError, nearest
from evalkit.evaluate.results import Comparisons
from evalkit.metrics import DollarsPer1000
from evalkit.metrics.statistics import Comparison
from evalkit.metrics.statistics import compare as compare_paired
from evalkit.serving.results.batches import batches

if TYPE_CHECKING:
    from evalkit.serving.results.outcomes import Replay

_HIGHER = frozenset(("answered", "hit", "quality"))


def compare(
    replays: Mapping[str, Replay],
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    *,
    margin: float | None = None,
    seed: int = 0,
    same_times: bool = True,
) -> Comparisons:
    """Compare replays of the same traffic with one of them, paired by the requests' numbers.

    Parameters
    ----------
    replays : {label: Replay}
        At least two.
    baseline : str, optional
        Default: the first.
    metrics : sequence of str, optional
        Default: all of
        ``ms``, ``first_ms``: of the requests that all of them answered;
        ``answered``, ``hit``, ``wrong``: shares of all requests, the last of wrong hits among those that can be
        judged in all;
        ``DollarsPer1000``: 1,000 times the price of each; ``quality``: token F1, of those with a reference answer.
    margin : float, optional
        Differences smaller than this count as none, in the metric's unit.
    seed : int
    same_times : bool
        Requests must come at the same times too. False: the same questions at other rates.

    Returns
    -------
    Comparisons
        Mean differences with intervals, p-values of Fisher's randomisation test, two-sided and corrected by Holm over
        the replays, and a verdict: ``better``, ``worse``, ``equivalent``, or ``inconclusive``. Neighbouring requests
        wait for one another, so runs of them (see `evalkit.serving.results.batches`) are drawn and flipped together.

    Raises
    ------
    InputError
        If there are fewer than two, their traffic differs, or a metric is unknown.
    """
    if len(replays) < 2:
        raise InputError("compare: give at least two replays of the same traffic")
    label = next(iter(replays)) if baseline is None else baseline
    if label not in replays:
        raise InputError(f"compare: no replay '{label}'{nearest(label, replays)}")
    for name in metrics or ():
        if name not in _METRICS:
            raise InputError(f"compare: no metric '{name}'{nearest(name, _METRICS)}")
    _check_traffic(label, replays, same_times)
    found: dict[str, Mapping[str, Comparison]] = {}
    for name in _METRICS if metrics is None else metrics:
        values = {key: _METRICS[name](replay) for key, replay in replays.items()}
        known = np.logical_and.reduce([np.isfinite(column) for column in values.values()])
        if known.any():
            found[name] = compare_paired(
                values[label][known],
                {key: column[known] for key, column in values.items() if key != label},
                seed=seed,
                higher_is_better=name in _HIGHER,
                margin=margin,
                clusters=batches(len(known))[known],
            )
    return Comparisons(label, found)


def _column(name: str, *, answered: bool = False) -> Callable[[Replay], Array]:
    def values(replay: Replay) -> Array:
        rows = replay.per_request
        column: Array = rows[name].to_numpy(dtype=np.float64)
        return np.where(rows["outcome"] == "answered", column, np.nan) if answered else column

    return values


def _wrong(replay: Replay) -> Array:
    """1 for a wrong hit, 0 for a right one and for none, nan for one that nobody can judge."""
    rows = replay.per_request
    judged = np.array([np.nan if wrong is None else float(wrong) for wrong in rows["wrong"]])
    return np.where(rows["hit"] == "", 0.0, judged)


_METRICS: Mapping[str, Callable[[Replay], Array]] = {
    "ms": _column("ms", answered=True),
    "first_ms": _column("first_ms", answered=True),
    "answered": lambda replay: (replay.per_request["outcome"] == "answered").to_numpy(dtype=np.float64),
    "hit": lambda replay: (replay.per_request["hit"] != "").to_numpy(dtype=np.float64),
    "wrong": _wrong,
    str(DollarsPer1000()): lambda replay: replay.per_request["usd"].to_numpy(dtype=np.float64) * 1e3,
    "quality": lambda replay: replay.quality,
}


def _check_traffic(label: str, replays: Mapping[str, Replay], same_times: bool) -> None:
    names = ["text", "user", "tenant", "conversation", *(["at"] if same_times else [])]

    def asked(replay: Replay) -> list[tuple[object, ...]]:
        return [(o.number, *(getattr(o.arrival, name) for name in names)) for o in replay.outcomes]

    base = asked(replays[label])
    for key, replay in replays.items():
        other = asked(replay)
        if len(other) != len(base):
            raise InputError(
                f"compare: '{key}' has {len(other)} requests and '{label}' {len(base)}; replay the same traffic"
            )
        for mine, theirs in zip(base, other, strict=True):
            for name, a, b in zip(["number", *names], mine, theirs, strict=True):
                if a != b:
                    raise InputError(
                        f"compare: request {mine[0]} of '{key}' differs from that of '{label}' in its {name} "
                        f"({b!r}, not {a!r}); replay the same traffic"
                    )
