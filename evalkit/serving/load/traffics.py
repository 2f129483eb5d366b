"""Traffic as a spec names it: recorded, drawn at random, or users who wait for their answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from evalkit.datasets import Dataset
from evalkit.datasets.arrivals import poisson
from evalkit.datasets.traffic import Ingestion
from evalkit.errors import InputError, nearest
from evalkit.serving.arrivals import Arrival, ClosedLoop, arrivals_of

__all__ = ["Closed", "Poisson", "Recorded"]

Source = Literal["traffic", "queries"]


@dataclass(frozen=True)
class Recorded:
    """The data set's own traffic, at its own times.

    Parameters
    ----------
    between : (float, float) or None
        Seconds of the recording: from the first up to, not including, the second. None: all.
    speed : float
        2: requests come twice as fast.
    """

    between: tuple[float, ...] | None = None
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.between is not None and not (len(self.between) == 2 and 0 <= self.between[0] < self.between[1]):
            raise InputError("Recorded: between is two times in seconds that rise from 0, or nothing")
        if not 0 < self.speed < math.inf:
            raise InputError(f"Recorded: speed is {self.speed:g}; it must be above 0")

    def of(self, data: Dataset) -> list[Arrival]:
        """Return the requests, their times counted from the beginning."""
        start, end = self.between or (0.0, math.inf)
        kept = [a for a in _recorded(data) if start <= a.at < end]
        if not kept:
            raise InputError(f"Recorded: no request of {data.name} comes between {start:g} and {end:g} s")
        return [replace(a, at=(a.at - start) / self.speed) for a in kept]

    def events(self, data: Dataset) -> tuple[Ingestion, ...]:
        """Return the documents that come and go meanwhile; what came before is there from the beginning."""
        start, end = self.between or (0.0, math.inf)
        return tuple(replace(e, at=max(0.0, e.at - start) / self.speed) for e in data.events if e.at < end)


@dataclass(frozen=True)
class Poisson:
    """Requests that come at random: a Poisson process.

    Parameters
    ----------
    rate : float
        Requests a second, on average.
    requests : int
        How many.
    seed : int
        Of the times and of the mix.
    mix : {kind: weight}
        How often each kind of request is asked, relative to the others (simple : conversational : complex = 3 : 2 :
        1): ``canonical``, ``conversation``, or ``trap`` for every kind of trap. Empty: all requests, in their order.
    source : {"traffic", "queries"}
        Whose texts are asked: the data set's traffic or its queries, whose kinds are those of their attributes.
    """

    rate: float = 1.0
    requests: int = 1000
    seed: int = 0
    mix: Mapping[str, float] = field(default_factory=dict)
    source: Source = "traffic"

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise InputError(f"Poisson: rate is {self.rate:g}; it must be above 0")
        _check("Poisson", self.requests, self.mix, self.seed)

    def of(self, data: Dataset) -> list[Arrival]:
        """Return the requests with their times."""
        times = poisson(self.requests, self.rate, seed=self.seed)
        asked = mixed(data, self.source, self.requests, self.mix, self.seed)
        return [replace(a, at=float(at)) for a, at in zip(asked, times, strict=True)]


@dataclass(frozen=True)
class Closed:
    """Users who each ask, wait for the answer, think, and ask again.

    Parameters
    ----------
    users : int
    think : float
        Mean seconds between an answer and the user's next question, exponentially distributed.
    requests : int
        How many are asked in all.
    seed : int
        Of the thinking and of the mix.
    mix : {kind: weight}
    source : {"traffic", "queries"}
        Both as for `Poisson`.
    """

    users: int = 1
    think: float = 0.0
    requests: int = 1000
    seed: int = 0
    mix: Mapping[str, float] = field(default_factory=dict)
    source: Source = "traffic"

    def __post_init__(self) -> None:
        ClosedLoop((), self.users, self.think)  # refuses what is wrong with these
        _check("Closed", self.requests, self.mix, self.seed)

    def of(self, data: Dataset) -> ClosedLoop:
        """Return the users with their requests."""
        asked = mixed(data, self.source, self.requests, self.mix, self.seed)
        return ClosedLoop(asked, self.users, self.think, self.seed)


def mixed(data: Dataset, source: Source, n: int, mix: Mapping[str, float], seed: int) -> list[Arrival]:
    """Return `n` requests of a data set, by kinds in the proportions of a mix.

    Each kind's come in their order, and again from the first when they are used up, so that the turns of a
    conversation follow one another and what is popular stays so.
    """
    known = _recorded(data) if source == "traffic" else _queries(data)
    groups = [[a for a in known if kind in (a.kind, a.kind.partition(":")[0])] for kind in mix] if mix else [known]
    missing = [kind for kind, group in zip(mix, groups, strict=bool(mix)) if not group]
    if missing:
        kinds = {a.kind for a in known} | {a.kind.partition(":")[0] for a in known}
        raise InputError(f"{data.name}: no request of kind '{missing[0]}'{nearest(missing[0], kinds)}")
    noise, taken = Random(f"{seed} mix"), [0] * len(groups)  # noqa: S311
    found = []
    for _ in range(n):
        i = noise.choices(range(len(groups)), list(mix.values()) or None)[0]
        again, place = divmod(taken[i], len(groups[i]))
        found.append(once_more(groups[i][place], again))
        taken[i] += 1
    return found


def once_more(arrival: Arrival, again: int) -> Arrival:
    """Return a request as it is asked the n-th time round: its conversation is another one then."""
    if not again or not arrival.conversation:
        return arrival
    return replace(arrival, conversation=f"{arrival.conversation} ({again + 1})")


def _recorded(data: Dataset) -> list[Arrival]:
    if not len(data.traffic):
        raise InputError(f"{data.name}: no recorded traffic; give Poisson or Closed with source: queries")
    return arrivals_of(data.traffic)


def _queries(data: Dataset) -> list[Arrival]:
    found = []
    for name, text in zip(data.queries.id, data.queries.text, strict=True):
        known = data.attributes.get(name, {})
        answer = data.answers[name].text if name in data.answers else ""
        kind, intent = (str(known.get(key) or "") for key in ("kind", "intent"))
        found.append(Arrival(text, kind=kind, intent=intent, answer=answer))
    return found


def _check(name: str, requests: int, mix: Mapping[str, float], seed: int) -> None:
    if requests < 1 or seed < 0:
        raise InputError(f"{name}: requests must be at least 1 and seed at least 0, not {requests} and {seed}")
    if mix and not (all(0 <= weight < math.inf for weight in mix.values()) and sum(mix.values()) > 0):
        raise InputError(f"{name}: mix is {dict(mix)}; weights are numbers from 0, one of them above")


def before(data: Dataset, traffic: Recorded, n: int) -> list[Arrival]:
    """Return the last `n` requests that were recorded before a part of the traffic begins."""
    start = traffic.between[0] if traffic.between else 0.0
    return [a for a in _recorded(data) if a.at < start][-n:] if n else []
