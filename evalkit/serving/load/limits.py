"""Whether a replay's numbers meet targets, without their intervals: many replays are looked at in one search."""

from __future__ import annotations

import numpy as np

from evalkit.errors import InputError
from evalkit.serving.results.outcomes import Replay
from evalkit.serving.results.targets import LEVELS, Targets


def one_level(targets: Targets, level: str) -> Targets:
    """Return targets with one level each."""
    given = {name: limits[LEVELS.index(level) if len(limits) > 1 else 0] for name, limits in targets.limits.items()}
    if not given or "rate" in given:
        raise InputError("highest_rate: give at least one target, but none of the rate: it is what is searched for")
    return Targets(**given)


_PERCENTILE = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


def missed(replay: Replay, targets: Targets) -> tuple[str, ...]:
    """Return the targets that a replay's numbers do not meet; a number that there is none of meets nothing."""
    answered = [o for o in replay.outcomes if o.outcome == "answered"]
    ms, first = (np.array([1e3 * (getattr(o, n) - o.arrived) for o in answered]) for n in ("ended", "first"))
    found, slow = list[str](), dict[str, float]()
    for name, (limit,) in targets.limits.items():
        if name == "answered":
            good = len(answered) >= limit * len(replay.outcomes)
        elif name.endswith("_ms"):
            times, q = (first if name.startswith("first_") else ms), _PERCENTILE.get(name.removeprefix("first_"))
            good = bool(answered) and bool((times.mean() if q is None else np.quantile(times, q)) <= limit)
        else:
            slow[name] = limit
            continue
        if not good:
            found.append(name)
    if slow:
        rows = replay.check(Targets(**slow))
        good_ones = np.where(rows["at_least"], rows["value"] >= rows["limit"], rows["value"] <= rows["limit"])
        found += rows.loc[~good_ones, "target"].tolist()
    return tuple(found)
