"""Replay: how does it serve? One request at a time, or many at once, on a clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evalkit.clock import WallClock, run_async
from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.evaluate.apply import worst
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.evaluate.timing import corpus_nodes
from evalkit.memo import forgotten
from evalkit.metrics import P50, P95, P99, Mean
from evalkit.paths import store_dir
from evalkit.serving.clock import VirtualClock
from evalkit.serving.request import Request
from evalkit.store import DiskStore
from evalkit.types import Clock, Digest, Handler, Origin, Store
from evalkit.values import Answers, Value
from evalkit.variants import Service, Variant

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Arrival:
    """A question that someone asks at some time.

    Parameters
    ----------
    text : str
    at : float
        Seconds from the replay's start.
    user, tenant : str
    """

    text: str
    at: float = 0.0
    user: str = ""
    tenant: str = ""


@dataclass(frozen=True, eq=False)
class Replay:
    """What a replay saw.

    Parameters
    ----------
    per_request : DataFrame
        Columns ``text, user, tenant, arrived, ended, ms, answer``, and what layers noted; one row a request, in
        order of arrival.
    origin : Origin
        ``modelled`` where the cost of work was given or the generator is modelled, else as the generator's times are.
    """

    per_request: pd.DataFrame
    origin: Origin

    @property
    def summary(self) -> pd.DataFrame:
        """Latency in milliseconds: mean and percentiles, with intervals."""
        import pandas as pd

        found = {
            str(metric): metric.of(self.per_request["ms"].to_numpy()) for metric in (Mean(), P50(), P95(), P99())
        }
        rows = [(name, e.value, e.low, e.high, e.n, "ms", self.origin) for name, e in found.items()]
        return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "unit", "origin"])


def replay(
    service: Service | Variant,
    data: Dataset,
    arrivals: Sequence[Arrival] | None = None,
    *,
    clock: str = "virtual",
    cores: int = 1,
    cost: Callable[[str, float], float] | None = None,
    seed: int = 0,
    store: Store | None = None,
) -> Replay:
    """Send traffic through a service.

    Parameters
    ----------
    service : Service or Variant
    data : Dataset
        Its documents are the corpus.
    arrivals : sequence of Arrival, optional
        Open loop: each comes at its time, answered or not. Default: every query of the data set once, each when
        the one before it is answered.
    clock : {"virtual", "wall"}
        Virtual: waiting is free, and work takes the time it really took, on `cores` cores.
    cores : int
        Of the virtual machine.
    cost : function, optional
        Seconds that work of a stage takes in virtual time, from the stage and the seconds it took here.
    seed : int
    store : Store, optional
        Default: the project's.

    Raises
    ------
    InputError
        For an unknown clock, no core, a cost on real time, no arrival or one before the start.
    """
    service = service if isinstance(service, Service) else Service(service)
    if clock not in ("virtual", "wall") or cores < 1:
        raise InputError(f"replay: clock is 'virtual' or 'wall' and cores at least 1, not {clock!r} and {cores}")
    if cost is not None and clock == "wall":
        raise InputError("replay: real time takes what it takes; give a cost with clock='virtual' only")
    if arrivals is not None and not arrivals:
        raise InputError("replay: no arrivals; give some, or None for every query of the data set")
    if not all(0 <= arrival.at < math.inf for arrival in arrivals or ()):
        raise InputError("replay: an arrival before the start or at no time; times are seconds from 0")
    ready = _prepare(service.variant, data, store if store is not None else DiskStore(store_dir()), seed)
    running = _start(service)

    async def one(arrival: Arrival, on: Clock) -> dict[str, Any]:
        await on.sleep(max(0.0, arrival.at - on.now()))
        # counted from when it was due: a late start is the service's fault, not the user's
        request = Request(arrival.text, arrival.user, arrival.tenant, arrival.at, on, ready, running)
        return await _answer(service.variant, request)

    async def everyone(on: Clock) -> list[dict[str, Any]]:
        if arrivals is None:
            return [await one(Arrival(text, on.now()), on) for text in data.queries.text]
        return list(await asyncio.gather(*(one(a, on) for a in sorted(arrivals, key=lambda a: a.at))))

    with forgotten() if cost is None else nullcontext():
        if clock == "virtual":
            virtual = VirtualClock(cores, cost or (lambda stage, took: took))
            rows = _apart(lambda: virtual.run(everyone(virtual)))
        else:
            rows = run_async(everyone(WallClock()))
    import pandas as pd

    own: Origin = getattr(service.variant.generate, "origin", "measured")
    return Replay(pd.DataFrame(rows), worst([own, "measured" if cost is None else "modelled"]))


def _prepare(variant: Variant, data: Dataset, store: Store, seed: int) -> dict[Digest, Value]:
    """Work out what stands ready before the first request."""
    context = Context(store)
    nodes = corpus_nodes(variant)
    plan = make_plan({"": {node.recipe: node for node in nodes}})
    done = execute(plan, sources(data, seed, store), context)
    return {node.recipe: context.whole(done[node.recipe].blocks) for node in nodes}


def _start(service: Service) -> Mapping[Digest, tuple[Handler, ...]]:
    seams = service.variant.nodes()
    found: dict[Digest, tuple[Handler, ...]] = {}
    for layer in service.layers:
        recipe = seams[layer.at].recipe
        found[recipe] = (*found.get(recipe, ()), layer.start())
    return found


async def _answer(variant: Variant, request: Request) -> dict[str, Any]:
    answers = cast("Answers", await request.get(variant.nodes()["answer"]))
    ended = request.clock.now()
    return {
        "text": request.text,
        "user": request.user,
        "tenant": request.tenant,
        "arrived": request.arrived,
        "ended": ended,
        "ms": float(np.float64(ended - request.arrived) * 1e3),
        "answer": answers.text[0],
        **request.notes,
    }


def _apart(work: Callable[[], Any]) -> Any:
    """Run in a thread of its own: a notebook's thread already has a running loop."""
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, work).result()
