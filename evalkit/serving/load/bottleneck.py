"""Where requests spend their time, and in which layer or stage it grew when the load did."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evalkit.served import Event
from evalkit.serving.results.outcomes import Outcome, Replay

CORES = "cores"
"""Stands for the wait for one: all stages share them, so the wait is no single stage's."""


class Spent(NamedTuple):
    """What became of the requests of a replay, by layer and stage.

    Parameters
    ----------
    times : {name: s}
        Mean seconds of an answered request in each layer and stage, and in wait for `CORES`, see `seconds_in`.
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
        times, work = defaultdict[str, float](float), defaultdict[str, float](float)
        lost, answered = Counter[str](), 0
        for outcome in replay.outcomes:
            if outcome.outcome == "answered":
                answered += 1
                for name, seconds in seconds_in(outcome).items():
                    times[name] += seconds
                for event in outcome.events:
                    if event.kind == "work":
                        work[event.name] += event.end - event.began
            elif outcome.outcome == "refused":
                lost[outcome.reason.partition(":")[0]] += 1
            elif outcome.outcome == "failed":
                lost["generate"] += 1
        n, all_of = max(1, answered), max(1, len(replay.outcomes))
        return cls(
            {name: seconds / n for name, seconds in times.items()},
            {name: seconds / n for name, seconds in work.items()},
            {name: count / all_of for name, count in lost.items()},
        )

    @classmethod
    def mean(cls, found: Sequence[Spent]) -> Spent:
        """Take the means over several replays; a name that one does not have is 0 there."""
        return cls(_mean([s.times for s in found]), _mean([s.work for s in found]), _mean([s.lost for s in found]))


def seconds_in(outcome: Outcome) -> dict[str, float]:
    """Return the seconds that a request spent in each layer and stage.

    A stage's are those of its work; waits for a core are summed under `CORES`, whichever stage waited. A layer's are
    those in which nothing within it was at work for the request: a wait for a slot, a look-up. What is done side by
    side counts for each.
    """
    found = defaultdict[str, float](float)
    ended: list[Event] = []  # events come in order of their ends, so what lies in a layer comes before it
    for event in outcome.events:
        seconds = event.end - event.start
        if event.kind == "layer":
            seconds -= _covered([e for e in ended if e.start >= event.start])
        elif event.kind == "work":
            seconds = event.end - event.began
            found[CORES] += event.began - event.start
        found[event.name] += seconds
        ended.append(event)
    return found


def _covered(events: Sequence[Event]) -> float:
    """Return the length of the union of events."""
    total, upto = 0.0, float("-inf")
    for event in sorted(events, key=lambda e: e.start):
        total += max(0.0, event.end - max(event.start, upto))
        upto = max(upto, event.end)
    return total


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
