"""An end to waiting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from evalkit.calls import Call, CallFailed
from evalkit.errors import InputError
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.layers.failures import TIMED_OUT
from evalkit.values import Value


@dataclass(frozen=True)
class TimeLimit:
    """Gives up what takes longer than `seconds`; what was under way is stopped.

    It is a failure like that of a call: a `Retry` further out tries again, a `CircuitBreaker` counts it, a `Fallback`
    answers in its place, and else the request's outcome is ``failed`` with the reason ``timed out``.

    Parameters
    ----------
    seconds : float
        Above 0.
    since : {"here", "arrival"}
        From when they count: each pass of this layer has its own time, or the request has one for all.
    at : {"embed", "retrieve", "prompt", "answer", "generate"}
        What is stopped.
    """

    seconds: float = 30.0
    since: Literal["here", "arrival"] = "here"
    at: Place = "generate"

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(f"TimeLimit: seconds is {self.seconds}; nothing can be done in that, give more than 0")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""

        async def handle(request: Request, go_on: Next) -> Value:
            began = request.clock.now()
            left = self.seconds if self.since == "here" else request.arrived + self.seconds - began
            limit = asyncio.timeout(left)
            try:
                if left <= 0:
                    raise self._failure(go_on, 0.0)
                async with limit:
                    return await go_on(request)
            except TimeoutError:
                if limit.expired():
                    raise self._failure(go_on, request.clock.now() - began) from None
                raise

        return handle

    def _failure(self, go_on: Next, seconds: float) -> CallFailed:
        model = str(getattr(go_on.node.op, "model", ""))
        call = Call(model, seconds=seconds, stop=TIMED_OUT, complete=False)
        return CallFailed(f"TimeLimit: nothing came at '{self.at}' in {self.seconds:g} s; allow more", call)
