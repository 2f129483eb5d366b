"""Invalidation by hand: find what is poisoned in the caches of a service, and take it out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar, cast

from evalkit.clock import WallClock, run_async
from evalkit.served import Ingested
from evalkit.serving.keeping.dropped import Dropped, Log
from evalkit.serving.keeping.kept import Found, Keeping, read, space_of
from evalkit.serving.keeping.keys import normalise
from evalkit.serving.state.base import State
from evalkit.types import Clock, Node, Seam
from evalkit.values import Answers
from evalkit.variants import Service

T = TypeVar("T")


@dataclass(frozen=True)
class Invalidation:
    """The caches of a service, from outside: those whose storage outlives a run (a file, a server).

    Keys are hashes, so a pattern finds nothing by them. Entries know their question, their tenant, the documents they
    rest on and what they hold; by these they are found. What is dropped is written down with the reason.

    Parameters
    ----------
    service : Service
        As its spec states it: another one's entries are others.
    now : float, optional
        Of the calendar by which entries expire (`Serving.now`). Default: the present, as for a service on real time.
    """

    service: Service
    now: float | None = None

    def find(
        self, text: str = "", *, document: str = "", where: Callable[[Found], bool] | None = None
    ) -> list[Found]:
        """Return the entries that meet every condition, oldest first.

        Parameters
        ----------
        text : str
            In the question or the answer, after folding case and white space.
        document : str
            Id of one that the entry rests on.
        where : function, optional
        """
        wanted = normalise(text)

        def meets(found: Found) -> bool:
            return (
                any(wanted in text for text in _texts(found))
                and (not document or document in found.entry.tags)
                and (where is None or where(found))
            )

        async def look(state: State, log: Log) -> list[Found]:
            every = [(key, entry, read(entry.value)) async for key, entry in state.items()]
            whole = [Found(key, entry, *parts) for key, entry, parts in every if parts is not None]
            return [found for found in whole if meets(found)]

        return sorted(chain.from_iterable(self._each(look)), key=lambda found: (found.entry.made, found.key))

    def delete(self, found: Found | str, why: str) -> int:
        """Drop one entry (or key); how many caches had it."""
        key = found if isinstance(found, str) else found.key

        async def delete(state: State, log: Log) -> int:
            gone = int(await state.delete(key))
            if gone:
                await log.add(Dropped(self._time(), f"key {key}", why, gone))
            return gone

        return sum(self._each(delete))

    def drop(self, document: str, why: str) -> int:
        """Drop every entry that rests on a document; how many."""
        return self._drop(document, why, lambda state: state.drop(document))

    def clear(self, why: str) -> int:
        """Drop all that the service's caches keep; how many."""
        return self._drop("everything", why, lambda state: state.clear())

    def log(self) -> list[Dropped]:
        """Return what was dropped, by hand and by ingestion, in order of time."""

        async def past(state: State, log: Log) -> list[Dropped]:
            return await log.read()

        return sorted(
            chain.from_iterable(self._each(past)), key=lambda dropped: (dropped.at, dropped.what, dropped.why)
        )

    def _drop(self, what: str, why: str, work: Callable[[State], Awaitable[int]]) -> int:
        async def drop(state: State, log: Log) -> int:
            gone = await work(state)
            await log.add(Dropped(self._time(), what, why, gone))
            return gone

        return sum(self._each(drop))

    def _time(self) -> float:
        return time.time() if self.now is None else self.now

    def _each(self, work: Callable[[State, Log], Awaitable[T]]) -> list[T]:
        """Work on every cache's entries. Spaces that two layers share (of vectors) are gone through once."""
        caches = {
            space_of(cast("Keeping", layer), self.service.fingerprint): cast("Keeping", layer)
            for layer in self.service.layers
            if getattr(layer, "keeps_answers", False)
        }

        async def all_of_them() -> list[T]:
            found = []
            for space, layer in caches.items():
                async with _opened(layer, space, self._time) as (state, log):
                    found.append(await work(state, log))
            return found

        return run_async(all_of_them())


def _texts(found: Found) -> list[str]:
    held = (text for value in found.values if isinstance(value, Answers) for text in value.text)
    return [normalise(text) for text in (str(found.about.get("question", "")), *held)]


@asynccontextmanager
async def _opened(layer: Keeping, space: str, now: Callable[[], float]) -> AsyncIterator[tuple[State, Log]]:
    outside = _Outside(now)
    state, log = layer.storage.open(space, outside), Log(layer.storage, space, outside)
    try:
        yield state, log
    finally:
        await log.close()
        await state.close()


class _Outside:
    """What a storage needs of a service, where none runs."""

    fingerprint = ""
    run = ""
    nodes: Mapping[Seam, Node] = {}
    clock: Clock

    def __init__(self, now: Callable[[], float]) -> None:
        self.clock, self.now = WallClock(), now

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    def at_ingestion(self, told: Callable[[Ingested], Awaitable[None]]) -> None:
        """Nothing comes in."""

    def holds(self, state: State) -> None:
        """Nothing is told of it."""

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """It is closed by whoever opened it."""
