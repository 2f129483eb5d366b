"""Failures on purpose, to see how a service bears them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

from evalkit.calls import Call, CallFailed
from evalkit.errors import InputError
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.layers.subjects import model_of
from evalkit.values import Value


@dataclass(frozen=True)
class FaultInjection:
    """Lets a share of calls fail, for load tests: with the default, 5 % of the calls of a model.

    Which ones is drawn by request, sample and model, and by nothing else: the same calls fail in every replay of the
    same traffic, whatever other layers do, and a `Retry` further out, which asks for another sample, draws anew. The
    place of a request in the traffic counts too, or a popular question would always fail. A call that does not fail
    is not touched. ``faults[<at>]`` is noted: how many calls of a request failed so.

    Parameters
    ----------
    share : float
        From 0 (none) to 1 (all).
    seconds : float
        That a failing call takes, before it says so. What it stands around is not asked.
    error : str
        What a record calls it.
    seed : int
    at : {"embed", "retrieve", "prompt", "answer", "generate"}
        What fails: a model's call; or a store's, around ``retrieve``.
    """

    share: float = 0.05
    seconds: float = 0.0
    error: str = "529 injected fault"
    seed: int = 0
    at: Place = "generate"

    fails_on_purpose: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"FaultInjection: share is {self.share}; it lies between 0 and 1")
        if not self.seconds >= 0:
            raise InputError(f"FaultInjection: seconds is {self.seconds}; give 0 or more")
        if not self.error.strip():
            raise InputError("FaultInjection: error is empty; say what a record calls it, such as '529 injected'")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""

        async def handle(request: Request, go_on: Next) -> Value:
            if not self._fails(request, go_on):
                return await go_on(request)
            await request.clock.sleep(self.seconds)
            request.add(f"faults[{self.at}]", 1)
            model = str(getattr(go_on.node.op, "model", ""))
            call = Call(model, seconds=self.seconds, stop=self.error, complete=False)
            raise CallFailed(f"FaultInjection: {self.error} at '{self.at}', on purpose", call)

        return handle

    def _fails(self, request: Request, go_on: Next) -> bool:
        which = f"{self.seed} {self.at} {model_of(go_on.node)} {request.number} {request.sample} {request.text}"
        return Random(which).random() < self.share  # noqa: S311
