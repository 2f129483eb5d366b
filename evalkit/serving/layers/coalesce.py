"""Concurrent identical misses call once: the first one leads, the others wait for what it gets."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import ClassVar

from evalkit.calls import CallFailed
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.keeping.keys import Key, check_key, hashed, key_of
from evalkit.serving.keeping.made import Made, tell, told
from evalkit.serving.layers.failures import TIMED_OUT
from evalkit.serving.refused import Refused
from evalkit.values import Value

Waiting = deque[asyncio.Future[tuple[Value, Made, bool] | None]]
"""Who waits for a leader, first come first; None makes the one who gets it the leader."""


@dataclass(frozen=True)
class Coalesce:
    """Lets one of the requests that want the same at the same time do the work, and gives its value to all.

    If the leader fails, so do those who wait: the call would have failed for them too. If it is cancelled, as when
    its user leaves, or turned away or timed out by a limit of its own, the next one leads.

    Parameters
    ----------
    at : {"answer", "retrieve", "prompt", "embed"}
        As in `Cache`. Behind a cache of the same place, only misses come here.
    key : {"question", "context", "context set"}
        As in `Cache`; requests that began with different documents are never one.

    Notes
    -----
    Each request's row says ``coalesce[<at>]``: ``led`` or ``followed``; one that led says in ``followers[<at>]`` how
    many it had.
    """

    at: Place = "answer"
    key: Key = "question"

    shares_answers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_key("Coalesce", self.at, self.key)

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work, with nothing under way."""
        flights: dict[str, Waiting] = {}

        async def lead(key: str, request: Request, go_on: Next) -> Value:
            waiting = flights[key]
            request.note(f"coalesce[{self.at}]", "led")
            try:
                value = await go_on(request)
            except Exception as error:
                if isinstance(error, Refused) or (isinstance(error, CallFailed) and error.call.stop == TIMED_OUT):
                    _hand_on(flights, key)
                else:
                    del flights[key]
                    for one in _left(waiting):
                        one.set_exception(error)
                raise
            except BaseException:  # cancelled
                _hand_on(flights, key)
                raise
            del flights[key]
            left = _left(waiting)
            request.note(f"followers[{self.at}]", len(left))
            made = told(request, go_on.node, value) or Made(str(request.number), serving.now(), (), request.corpus)
            for one in left:
                one.set_result((value, replace(made, shared=True), request.fit))
            return value

        async def handle(request: Request, go_on: Next) -> Value:
            key = hashed(request.corpus, await key_of(self.key, self.at, serving, request, go_on))
            if key not in flights:
                flights[key] = deque()
                return await lead(key, request, go_on)
            mine: asyncio.Future[tuple[Value, Made, bool] | None] = asyncio.get_running_loop().create_future()
            flights[key].append(mine)
            try:
                got = await mine
            except asyncio.CancelledError:
                if mine.done() and not mine.cancelled() and mine.exception() is None and mine.result() is None:
                    _hand_on(flights, key)  # it had just become the leader
                raise
            if got is None:
                return await lead(key, request, go_on)
            value, made, fits = got
            if not fits:
                request.fit = False
            request.note(f"coalesce[{self.at}]", "followed")
            if self.at == "answer":
                request.served("Coalesce", made.by)
            tell(request, go_on.node, value, made)
            return value

        return handle


def _left(waiting: Waiting) -> list[asyncio.Future[tuple[Value, Made, bool] | None]]:
    """Return those who still wait."""
    return [one for one in waiting if not one.done()]


def _hand_on(flights: dict[str, Waiting], key: str) -> None:
    """Make the next one who still waits the leader."""
    waiting = flights[key]
    while waiting:
        one = waiting.popleft()
        if not one.done():
            one.set_result(None)
            return
    del flights[key]
