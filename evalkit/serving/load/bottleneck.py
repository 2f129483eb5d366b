"""Where requests spend their time, and in which layer or stage it grew when the load did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evalkit.serving.results.flat import Flat
from evalkit.serving.results.outcomes import Replay
from evalkit.serving.results.tables import own_times

CORES = "cores"
"""Stands for the wait for one: all stages share them, so the wait is no single stage's."""


class Spent(NamedTuple):
    """What became of the requests of a replay, by layer and stage.

    Parameters
    ----------
    times : {name: s}
        Mean seconds of an answered request itself in each layer and stage (see `own_times`), and in wait for `CORES`,
        whichever stage waited.
    work : {stage: s}
        Those of them in which a core was taken.
    lost : {name: share}
        Share of all requests that a layer turned away or that a model's calls failed.
    """

    times: Mapping[str, float]
    work: Mapping[str, float]
    lost: Mapping[str, float]

    @classmethod
    def of(cls, replay: Replay) -> Spent:
        """Take the means over a replay's requests."""
        answered = Flat.of([outcome for outcome in replay.outcomes if outcome.outcome == "answered"])
        lost: Counter[str] = Counter()
        for outcome in replay.outcomes:
            if outcome.outcome == "refused":
                lost[outcome.reason.partition(":")[0]] += 1
            elif outcome.outcome == "failed":
                lost["generate"] += 1
        times = {name: float(ms.mean()) / 1e3 for name, ms in own_times(answered).items() if len(ms)}
        times[CORES] = times.pop("queue", 0.0)
        worked = {event.name for outcome in replay.outcomes for event in outcome.events if event.kind == "work"}
        all_of = max(1, len(replay.outcomes))
        return cls(
            times,
            {name: seconds for name, seconds in times.items() if name in worked},
            {name: count / all_of for name, count in lost.items()},
        )

    @classmethod
    def mean(cls, found: Sequence[Spent]) -> Spent:
        """Take the means over several replays; a name that one does not have is 0 there."""
        return cls(_mean([s.times for s in found]), _mean([s.work for s in found]), _mean([s.lost for s in found]))


def first_to_break(below: Spent, above: Spent, *, answers: bool) -> tuple[str, float, dict[str, float]]:
    """Return what gave way between two loads.

    Parameters
    ----------
    below, above : Spent
        Under a load that is carried easily, and under one that is not carried.
    answers : bool
        Whether what is missed are answers, not time.

    Returns
    -------
    str
        The name whose time grew most or, for answers, that lost most more of them; empty where nothing grew. Where it
        is the wait for cores, with the stage that takes them longest: ``cores: search``.
    float
        Its share of all growth.
    {name: ms}
        How much longer a request is in each layer and stage, the largest first.
    """
    times = _growth(below.times, above.times)
    lost = _growth(below.lost, above.lost) if answers else {}
    grown = lost if any(value > 0 for value in lost.values()) else times
    name, most = next(iter(grown.items()), ("", 0.0))
    total = sum(value for value in grown.values() if value > 0)
    milliseconds = {key: 1e3 * value for key, value in times.items()}
    if name == CORES and any(above.work.values()):
        name = f"{CORES}: {max(sorted(above.work), key=lambda stage: above.work[stage])}"
    return (name, most / total, milliseconds) if most > 0 else ("", 0.0, milliseconds)


def _growth(below: Mapping[str, float], above: Mapping[str, float]) -> dict[str, float]:
    names = sorted({*below, *above})
    grown = {name: above.get(name, 0.0) - below.get(name, 0.0) for name in names}
    return dict(sorted(grown.items(), key=lambda item: -item[1]))


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for row in rows for name in row})
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in names}
