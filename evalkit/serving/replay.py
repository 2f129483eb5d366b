"""Replay: how does it serve? One request at a time, or many at once, on a clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from evalkit.calls import CallFailed
from evalkit.clock import WallClock, start_async
from evalkit.datasets import Dataset, Traffic
from evalkit.datasets.traffic import Ingestion
from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.apply import worst
from evalkit.evaluate.plan import nodes_of
from evalkit.llm.latency.profiles import profiles
from evalkit.memo import forgotten
from evalkit.paths import store_dir
from evalkit.serving.arrivals import Arrival, ClosedLoop, arrivals_of
from evalkit.serving.clock import VirtualClock
from evalkit.serving.corpora import Corpus, corpora
from evalkit.serving.costs import StatedCost
from evalkit.serving.refused import Refused
from evalkit.serving.request import Request
from evalkit.serving.results.outcomes import Outcome, Replay
from evalkit.serving.running import Running, check_layers
from evalkit.store import DiskStore
from evalkit.types import Clock, Node, Origin, Store
from evalkit.values import Answers
from evalkit.variants import Service, Variant

if TYPE_CHECKING:
    from concurrent.futures import Future

Cost = Callable[[str, float], float]
T = TypeVar("T")


def replay(
    service: Service | Variant,
    data: Dataset,
    traffic: Traffic | Sequence[Arrival] | ClosedLoop | None = None,
    *,
    clock: str = "virtual",
    cores: int = 1,
    cost: Cost | Mapping[str, float] | str | None = None,
    events: Sequence[Ingestion] = (),
    warm: Sequence[Arrival] = (),
    patience: float | None = None,
    keep: bool = False,
    seed: int = 0,
    store: Store | None = None,
) -> Replay:
    """Send traffic through a service.

    Parameters
    ----------
    service : Service or Variant
    data : Dataset
        Its documents are the corpus.
    traffic : Traffic, sequence of Arrival or ClosedLoop, optional
        Open loop: each comes at its time, answered or not. Default: every query of the data set once, each when
        the one before it is answered.
    clock : {"virtual", "wall"}
        Virtual: waiting is free, and work takes the time it really took, on `cores` cores.
    cores : int
        Of the virtual machine.
    cost : mapping, str or function, optional
        Seconds that work takes in virtual time: by stage (one that is not named is free), as a named latency profile
        states them, or from the stage and the seconds it took here. Work that takes a stated time is done once for
        equal inputs.
    events : sequence of Ingestion
        Documents that come and go meanwhile; ``data.events``, or none. Without any, all documents are there.
    warm : sequence of Arrival
        Asked before the traffic begins, one after the other; their rows are not in the results, their numbers are
        below 0. They fill caches.
    patience : float, optional
        Seconds after which users leave who do not say so themselves.
    keep : bool
        What caches hold in a storage that lasts (SQLite, Redis) stays for the next replay of the same service, and
        is found there; on the virtual clock, whose every day begins at 0, from the time of day at which it was made.
        Default: each replay begins with empty ones, so that the same spec gives the same numbers. (Redis takes real
        time on every clock, so with it times, and what depends on them, differ a little from run to run.)
    seed : int
    store : Store, optional
        Default: the project's.

    Returns
    -------
    Replay

    Raises
    ------
    InputError
        For an unknown clock, no core, a cost on real time, no arrival or one before the start.
    EvalkitError
        If work fails. A call of a model that fails and a request that is refused are outcomes, not errors.
    """
    service = service if isinstance(service, Service) else Service(service)
    check_layers(service.layers)
    if clock not in ("virtual", "wall") or cores < 1 or cores != int(cores):
        raise InputError(f"replay: clock is 'virtual' or 'wall' and cores at least 1, not {clock!r} and {cores}")
    if cost is not None and clock == "wall":
        raise InputError("replay: real time takes what it takes; give a cost with clock='virtual' only")
    if wrong := [event.at for event in events if not 0 <= event.at < math.inf]:
        raise InputError(f"replay: an event at {wrong[0]}; times are seconds from 0")
    if traffic is None:  # one after the other
        asked = zip(data.queries.text, data.queries.history, strict=True)
        traffic = ClosedLoop([Arrival(text, history=tuple(history)) for text, history in asked])
    closed = traffic if isinstance(traffic, ClosedLoop) else None
    arrivals = arrivals_of(closed.requests if closed else cast("Traffic | Sequence[Arrival]", traffic))
    if patience is not None:
        arrivals = [a if a.patience is not None else replace(a, patience=patience) for a in arrivals]
    made = corpora(_ends(service), data, events, store if store is not None else DiskStore(store_dir()), seed)
    stated = _stated(cost)
    counts: dict[str, Mapping[str, int]] = {}

    async def everyone(on: Clock) -> tuple[list[Outcome], list[Outcome], Running, float]:
        running = Running(service, made[0], on, remember=stated is not None, keep=keep)
        before: list[Outcome] = []
        try:
            for i, arrival in enumerate(warm):
                before.append(await _ask(running, service.variant, arrival, i - len(warm), on.now()))
            start = on.now()
            news = asyncio.ensure_future(_ingest(running, made[1:], start))
            try:
                if closed:
                    rows = await _closed(running, service.variant, arrivals, closed, start)
                else:
                    rows = await _open(running, service.variant, arrivals, start)
            finally:
                news.cancel()
                await asyncio.gather(news, return_exceptions=True)
        finally:
            await running.end()
        counts.update({layer: dict(state.counts) for layer, state in running.states.items()})
        return rows, before, running, start

    with forgotten() if stated is None else nullcontext():
        if clock == "virtual":
            virtual = VirtualClock(cores, stated or (lambda stage, took: took))
            outcomes, before, running, start = _apart(lambda: virtual.run(everyone(virtual)), virtual.stop)
        else:
            outcomes, before, running, start = _till_stopped(start_async(everyone(WallClock())))
    makers: list[Origin] = [getattr(node.op, "origin", "measured") for node in nodes_of(_ends(service)).values()]
    origin = worst([*makers, "measured" if stated is None else getattr(stated, "origin", "modelled")])
    return Replay(outcomes, origin, start, failures=dict(running.failures), warm=tuple(before), states=counts)


def _stated(cost: Cost | Mapping[str, float] | str | None) -> Cost | None:
    if isinstance(cost, str):
        known = profiles()
        if cost not in known:
            raise InputError(f"replay: no latency profile '{cost}'; known: {', '.join(sorted(known))}")
        return StatedCost(known[cost].stages)
    if isinstance(cost, Mapping):
        if wrong := [stage for stage, seconds in cost.items() if not 0 <= seconds < math.inf]:
            raise InputError(f"replay: the cost of '{wrong[0]}' is {cost[wrong[0]]}; it is seconds from 0")
        return StatedCost(dict(cost))
    return cost


def _ends(service: Service) -> Iterable[Node]:
    """Everything that requests may ask for."""
    nodes = service.variant.nodes()
    yield from nodes.values()
    for layer in service.layers:
        if hasattr(layer, "needs"):
            yield from layer.needs(nodes)


async def _open(running: Running, variant: Variant, arrivals: Sequence[Arrival], start: float) -> list[Outcome]:
    """Let every request come at its time, whatever became of those before it."""
    async with _Tasks() as tasks:
        for number, arrival in enumerate(arrivals):
            # counted from when it was due: a late start is the service's fault, not the user's
            due = start + arrival.at
            if due > running.clock.now():
                await running.clock.sleep(due - running.clock.now())
            tasks.start(_ask(running, variant, arrival, number, due))
    return tasks.results()


async def _closed(
    running: Running, variant: Variant, arrivals: Sequence[Arrival], loop: ClosedLoop, start: float
) -> list[Outcome]:
    """Let users take the requests in order, each the next one when it has its answer and has thought."""
    todo = iter(enumerate(arrivals))
    found: list[Outcome] = []

    async def user(name: int) -> None:
        noise = Random(f"{loop.seed} {name}")  # noqa: S311
        while True:
            if loop.think:
                await running.clock.sleep(noise.expovariate(1 / loop.think))
            if (taken := next(todo, None)) is None:
                return
            found.append(await _ask(running, variant, taken[1], taken[0], running.clock.now()))

    async with _Tasks() as tasks:
        for name in range(min(loop.users, len(arrivals))):
            tasks.start(user(name))
    return sorted(found, key=lambda outcome: outcome.number)


async def _ask(running: Running, variant: Variant, arrival: Arrival, number: int, due: float) -> Outcome:
    request = Request(
        running, number, arrival.text, arrival.user, arrival.tenant, arrival.conversation, due, arrival.history
    )
    answers, outcome, reason = None, "answered", ""
    asked = request.need(variant.nodes()["answer"])
    try:
        if arrival.patience is None:
            answers = await asked
        else:
            left = due + arrival.patience - running.clock.now()
            answers = await asyncio.wait_for(asked, max(0.0, left))
    except Refused as refusal:
        outcome, reason = "refused", str(refusal)
    except CallFailed as failure:
        outcome, reason = "failed", failure.call.stop
    except TimeoutError:
        if arrival.patience is None:
            raise EvalkitError("a layer or a generator let a TimeoutError out; it should be a CallFailed") from None
        outcome, reason = "abandoned", f"no answer in {arrival.patience:g} s"
    finally:
        request.end()
    return Outcome.of(arrival, request, cast("Answers | None", answers), outcome, reason, running.clock.now())


async def _ingest(running: Running, news: Sequence[Corpus], start: float) -> None:
    for corpus in news:
        await running.clock.sleep(max(0.0, start + corpus.at - running.clock.now()))
        await running.ingest(corpus)


class _Tasks:
    """Tasks that end together: the first error of one ends all, and is raised."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []
        self._failed: asyncio.Future[None] | None = None

    async def __aenter__(self) -> _Tasks:
        self._me = asyncio.current_task()
        self._error: BaseException | None = None
        return self

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._look)
        self._tasks.append(task)

    def _look(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None and self._error is None:
            self._error = task.exception()
            if self._me is not None:
                self._me.cancel()  # it may be waiting for the next arrival

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._error is not None:
                raise self._error

    def results(self) -> list[Any]:
        return [task.result() for task in self._tasks]


def _apart(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """Run in a thread of its own: a notebook's thread already has a running loop."""
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(copy_context().run, work)
        try:
            return running.result()
        except BaseException:  # an interrupt reaches this thread alone
            if not running.done():
                stop()
            raise


def _till_stopped(running: Future[T]) -> T:
    try:
        return running.result()
    except BaseException:
        running.cancel()
        raise
