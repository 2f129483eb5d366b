"""The highest rate that meets targets, held against queueing theory."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.optimize import brentq
from toys import keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.serving import Arrival, Cache, ClosedLoop, Refused
from evalkit.serving.load.capacity import highest_rate
from evalkit.serving.load.limits import missed
from evalkit.serving.results.targets import Targets
from evalkit.values import Answer

QUESTIONS = [Arrival("red apples")] * 1500
ANSWER = Answer.table([Answer("yes")])


@dataclass(frozen=True)
class Servers:
    """Answers by itself after one piece of work: on the clock's cores, or in a queue of its own with some slots."""

    slots: int | None = None
    mean: float | None = None
    at: ClassVar[str] = "answer"

    def start(self, serving: Any) -> Any:
        slots = asyncio.Semaphore(self.slots or 1)

        async def handle(request: Any, go_on: Any) -> Any:
            if self.slots is None:
                await request.clock.compute("serve", lambda: None)
                return ANSWER
            async with slots:  # exponential service, drawn by the request's number
                await request.clock.sleep(Random(f"service {request.number}").expovariate(1 / self.mean))
            return ANSWER

        return handle


@dataclass(frozen=True)
class Full:
    """Turns away who comes while others are there."""

    places: int = 2
    at: ClassVar[str] = "answer"

    def start(self, serving: Any) -> Any:
        inside = 0

        async def handle(request: Any, go_on: Any) -> Any:
            nonlocal inside
            if inside >= self.places:
                raise Refused("Full", "queue full")
            inside += 1
            try:
                return await go_on(request)
            finally:
                inside -= 1

        return handle


def search(layers: Any, targets: Any, store: Any, **changes: Any) -> Any:
    given = {"between": (0.1, 100.0), "seeds": range(4), "tolerance": 0.03, **changes}
    traffic = given.pop("traffic", QUESTIONS)
    return highest_rate(Service(keywords(), layers), small_dataset(), traffic, targets, store=store, **given)


def md1(rate: float, wait: float, service: float) -> float:
    """P(wait <= `wait`) in an M/D/1 queue: Erlang's formula of 1909."""
    terms = (
        (rate * (k * service - wait)) ** k / math.factorial(k) * math.exp(-rate * (k * service - wait))
        for k in range(math.floor(wait / service) + 1)
    )
    return (1 - rate * service) * math.fsum(terms)


def erlang_c(rate: float, mean: float, c: int) -> float:
    """P(an arrival waits) in an M/M/c queue."""
    load = rate * mean
    below = math.fsum(load**k / math.factorial(k) for k in range(c))
    full = load**c / math.factorial(c) * c / (c - load)
    return full / (below + full)


def mmc(rate: float, seconds: float, mean: float, c: int) -> float:
    """P(wait + service <= `seconds`) in an M/M/c queue."""
    free, mu = c / mean - rate, 1 / mean
    waits = erlang_c(rate, mean, c)
    # the wait is exponential with rate `free` for those who wait; the service is one with rate `mu`
    late = (free * math.exp(-mu * seconds) - mu * math.exp(-free * seconds)) / (free - mu)
    return 1 - (1 - waits) * math.exp(-mu * seconds) - waits * late


def test_an_m_d_1_queue_carries_what_theory_says(store):
    theory = brentq(lambda rate: md1(rate, 0.3, 0.1) - 0.95, 0.1, 9.99)
    found = search((Servers(),), Targets(p95_ms=400.0), store, cost={"serve": 0.1})
    assert found.low <= theory <= found.high
    assert abs(math.log(found.rate / theory)) < 0.1
    assert found.high / found.low < 1.6
    assert (found.broke, found.missed, found.notes) == ("Servers[answer]", ("p95_ms",), ())
    assert found.share == 1.0
    assert found.origin == "modelled"


def test_an_m_m_c_queue_carries_what_theory_says(store):
    theory = brentq(lambda rate: mmc(rate, 1.5, 0.4, 3) - 0.95, 0.1, 7.49)
    found = search((Servers(3, 0.4),), Targets(p95_ms=1500.0), store)
    assert found.low <= theory <= found.high
    assert abs(math.log(found.rate / theory)) < 0.15
    assert found.broke == "Servers[answer]"


def test_trials_lie_on_one_grid_and_tell_the_rate(store):
    found = search((Servers(),), Targets(p95_ms=400.0), store, cost={"serve": 0.1}, requests=300, seeds=(3, 8))
    rows = found.frame
    assert list(rows) == ["seed", "rate", "held", "missed"]
    for seed, rate in found.held.items():
        mine = rows[rows["seed"] == seed]
        assert mine.loc[mine["held"], "rate"].max() == rate
        above = mine.loc[~mine["held"], "rate"].min()
        assert rate < above < rate * 1.031
    assert search((Servers(),), Targets(p95_ms=400.0), store, cost={"serve": 0.1}, requests=300, seeds=(8,)).held == {
        8: found.held[8]  # whatever seed was searched before it
    }


def test_the_stage_that_gives_way_is_named(store):
    spared = Service(keywords(), (Cache(at="retrieve"),))
    found = {}
    busy = {"search": 0.5}
    for name, service, cost in (("plain", Service(keywords()), busy), ("spared", spared, busy | {"generate": 0.1})):
        found[name] = highest_rate(
            service, small_dataset(), QUESTIONS, Targets(p95_ms=900.0), requests=300, seeds=(0, 1), tolerance=0.05,
            between=(0.5, 200), cores=8, cost=cost, store=store,
        )  # fmt: skip
    # eight cores, 0.5 s a request: at most 16 a second; without the search, and 0.1 s of a model on the cores, 80
    assert 8 < found["plain"].rate < 16
    assert found["spared"].rate > 40
    assert found["plain"].missed == ("p95_ms",)
    assert found["plain"].broke == "cores: search"
    assert found["spared"].growth["generate"] > 0  # this model works on the cores too
    assert found["plain"].share > 0.5


def test_a_limit_that_turns_requests_away_is_what_breaks(store):
    # M/D/2/2 turns away Erlang's B of an offered load a: a^2/2 / (1 + a + a^2/2) <= 5 % up to a = 0.3813
    found = search((Full(2), Servers()), Targets(answered=0.95), store, cost={"serve": 0.1}, cores=2)
    assert found.low <= 3.813 <= found.high
    assert abs(math.log(found.rate / 3.813)) < 0.15
    assert (found.broke, found.share, found.missed) == ("Full", 1.0, ("answered",))


def test_a_service_that_never_or_always_keeps_up_says_so(store):
    never = search((Servers(),), Targets(p95_ms=50.0), store, cost={"serve": 0.1}, requests=50, seeds=(0, 1))
    assert (never.rate, never.low, never.high, never.broke) == (0.0, 0.0, 0.0, "")
    assert never.missed == ("p95_ms",)
    assert never.notes == ("2 of 2 seeds miss a target at 0.1/s already; search between other rates",)
    always = search((Servers(),), Targets(p95_ms=50.0), store, requests=50, seeds=(0, 1))
    assert (always.rate, always.low, always.high) == (math.inf, math.inf, math.inf)
    assert always.notes == ("2 of 2 seeds hold at 100/s; search between other rates",)
    assert len(always.trials) < 10


def test_a_service_that_is_slower_when_less_is_asked_is_told_of(store):
    # an entry lives for 2 s: rarer questions are never remembered, and a miss takes longer than the target allows
    layers = (Cache(ttl=2.0), Servers())
    found = search(
        layers, Targets(p50_ms=50.0), store, cost={"serve": 0.1}, requests=200, seeds=(0,), between=(0.01, 50)
    )
    assert any(note.startswith("not monotone: p50_ms: missed at 0.01/s and met at ") for note in found.notes)
    assert found.rate == math.inf  # three questions asked fifty times a second are all remembered


def test_recorded_arrivals_keep_their_pattern(store):
    bursts = [Arrival("red apples", at=100.0 * (i // 4)) for i in range(200)]
    limits, cost = Targets(p95_ms=250.0), {"serve": 0.1}
    with_bursts = search((Servers(),), limits, store, traffic=bursts, arrivals="recorded", cost=cost, seeds=(0,))
    assert with_bursts.rate == 0.0  # the fourth of a burst waits 0.3 s however seldom bursts come
    even = [Arrival("red apples", at=7.0 * i) for i in range(200)]
    evenly = search((Servers(),), limits, store, traffic=even, arrivals="recorded", cost=cost, seeds=(0, 1))
    assert 9.7 < evenly.rate <= 10.5  # D/D/1: nobody waits up to 10 a second
    assert evenly.held[0] == evenly.held[1]


def test_one_seed_gives_no_interval(store):
    found = search((Servers(),), Targets(p95_ms=400.0), store, cost={"serve": 0.1}, requests=200, seeds=(0,))
    assert (found.low, found.high) == (0.0, math.inf)
    assert found.notes == ("one seed tells nothing of the spread; give more",)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seeds": ()}, "different seeds"),
        ({"seeds": (1, 1)}, "different seeds"),
        ({"requests": 0}, "requests"),
        ({"between": (2, 1)}, "must rise"),
        ({"between": (0, 1)}, "must rise"),
        ({"tolerance": 0}, "tolerance"),
        ({"settle": 1}, "settle"),
        ({"arrivals": "evenly"}, "'poisson' or 'recorded'"),
        ({"arrivals": "recorded"}, "all come at one time"),
        ({"traffic": ClosedLoop(QUESTIONS)}, "closed loop"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(store, changes, what):
    with pytest.raises(InputError, match=what):
        search((), Targets(p95_ms=1.0), store, **changes)


@pytest.mark.parametrize("targets", [Targets(), Targets(p95_ms=1, rate=5)])
def test_a_search_needs_targets_that_it_does_not_search_for(store, targets):
    with pytest.raises(InputError, match="highest_rate: give at least one target, but none of the rate"):
        search((), targets, store)


def test_the_quick_numbers_are_those_of_the_summary(tiny, store):
    rng = np.random.default_rng(3)
    arrivals = [
        Arrival(f"{tiny.queries.text[i // 2 % 8]} {i // 2}", at=float(t))
        for i, t in enumerate(rng.uniform(0, 20, 80))
    ]
    service = Service(keywords(), (Full(6), Cache()))
    seen = replay(service, tiny, arrivals, cost={"search": 0.5, "generate": 0.1}, store=store)
    names = ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "first_p50_ms", "first_p95_ms", "answered", "hit_rate")
    values = seen.check(Targets(**dict.fromkeys(names, 1.0))).set_index("target")["value"]
    assert 0 < values["answered"] < 1
    for name in names:
        up = name in ("answered", "hit_rate")
        kept, broken = (values[name] * (1 + off) for off in ((-1e-9, 1e-9) if up else (1e-9, -1e-9)))
        assert missed(seen, Targets(**{name: kept})) == ()
        assert missed(seen, Targets(**{name: broken})) == (name,)
