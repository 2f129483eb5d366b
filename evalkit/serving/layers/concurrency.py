"""At most so many at once; others wait in line."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from evalkit.errors import InputError
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.layers.subjects import Per, subject
from evalkit.serving.refused import Refused
from evalkit.values import Value


@dataclass(frozen=True)
class Concurrency:
    """Lets at most `limit` in at once; others wait, first come, first served.

    Who leaves while waiting gives up the place in the queue; who leaves inside frees the slot at once. A request is
    refused with ``queue full`` or ``waited too long``. ``queue_ms[<at>]`` is noted: the milliseconds that a request
    waited, all its passes together.

    Parameters
    ----------
    limit : int
        Inside at once, for each that is counted.
    queue : int or None
        Waiting at once, for each that is counted; 0: nobody waits. None: without limit.
    wait : float or None
        Seconds after which one who waits is refused. None: never.
    per : {"service", "model", "user", "tenant"}
        Whose calls are counted together.
    at : {"embed", "retrieve", "prompt", "answer", "generate"}
        What is limited: around ``generate`` the calls of models, around ``answer`` whole requests.
    """

    limit: int = 10
    queue: int | None = None
    wait: float | None = None
    per: Per = "service"
    at: Place = "generate"

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InputError(f"Concurrency: limit is {self.limit}; at least 1 must be let in")
        if self.queue is not None and self.queue < 0:
            raise InputError(f"Concurrency: queue is {self.queue}; give 0 or more, or None for no limit")
        if self.wait is not None and not self.wait >= 0:
            raise InputError(f"Concurrency: wait is {self.wait}; give seconds of 0 or more, or None for ever")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work, with nobody inside."""
        gates: dict[tuple[str, ...], _Gate] = {}
        name = f"queue_ms[{self.at}]" if self.per == "service" else f"queue_ms[{self.at}/{self.per}]"

        async def handle(request: Request, go_on: Next) -> Value:
            key = subject(self.per, request, go_on)
            gate = gates.setdefault(key, _Gate(self.limit))
            since = request.clock.now()
            try:
                try:
                    await self._enter(gate)
                finally:
                    request.add(name, (request.clock.now() - since) * 1e3)
                try:
                    return await go_on(request)
                finally:
                    gate.leave()
            finally:
                if not gate.inside and gates.get(key) is gate:  # memory does not grow with the number of users
                    del gates[key]

        return handle

    async def _enter(self, gate: _Gate) -> None:
        if gate.inside < gate.limit:
            gate.inside += 1
            return
        if self.queue is not None and len(gate.waiting) >= self.queue:
            raise Refused("Concurrency", "queue full")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        gate.waiting[turn] = None
        timer = loop.call_later(self.wait, _give_up, turn) if self.wait is not None else None
        try:
            if not await turn:
                raise Refused("Concurrency", "waited too long")
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                gate.leave()  # it was let in while its user left
            raise
        finally:
            gate.waiting.pop(turn, None)
            if timer is not None:
                timer.cancel()


class _Gate:
    """Who is inside and who waits. A slot that falls free goes to the first who waits, so that none overtakes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.inside = limit, 0
        self.waiting: OrderedDict[asyncio.Future[bool], None] = OrderedDict()

    def leave(self) -> None:
        while self.waiting:
            turn, _ = self.waiting.popitem(last=False)
            if not turn.done():  # else its user left, or it has waited too long
                turn.set_result(True)
                return
        self.inside -= 1


def _give_up(turn: asyncio.Future[bool]) -> None:
    if not turn.done():
        turn.set_result(False)
