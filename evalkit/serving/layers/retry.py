"""Trying again, later and later."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from evalkit.calls import CallFailed
from evalkit.errors import EvalkitError, InputError
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.layers.failures import Kind, kind_of
from evalkit.serving.refused import Refused
from evalkit.values import Value


@dataclass(frozen=True)
class Retry:
    """Tries again what failed, after waits that grow: the n-th is ``min(longest, backoff * factor ** (n - 1))``.

    Each further try asks for another `sample`, so that a generator, recorded or modelled, gives another try. A call
    that failed for good (``CallFailed.final``) is not tried again. Where a refusal says after how long trying again
    may help, that is waited for if it is longer; if it is longer than `longest`, no try is made: it could not help.
    ``tries[<at>]`` and ``retry_ms[<at>]`` are noted: all tries of a request, and the milliseconds between them.

    At a seam, what a failed input gave is not made anew: an embedding that fails is tried again at ``embed``.

    Parameters
    ----------
    tries : int
        In all, the first included.
    backoff : float
        Seconds before the second try.
    factor : float
        By which each further wait is longer; at least 1.
    longest : float
        Seconds that no wait exceeds.
    jitter : {"full", "none"}
        full: each wait is drawn from 0 to what it would be, so that those who failed together do not come back
        together; what a refusal asks for is always waited. Drawn by request and try: the same in every replay.
    on : tuple of {"failed", "refused", "error"}
        What is tried again: calls that got no answer (time-outs too), refusals of layers further in, work that
        raised.
    seed : int
        Of the jitter.
    at : {"embed", "retrieve", "prompt", "answer", "generate"}

    References
    ----------
    M. Brooker, Exponential backoff and jitter, AWS Architecture Blog, 2015.
    """

    tries: int = 3
    backoff: float = 0.5
    factor: float = 2.0
    longest: float = 8.0
    jitter: Literal["full", "none"] = "full"
    on: tuple[Kind, ...] = ("failed",)
    seed: int = 0
    at: Place = "generate"

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise InputError(f"Retry: tries is {self.tries}; the first one counts, give 1 or more")
        if not (self.backoff >= 0 and self.longest >= 0):
            raise InputError("Retry: backoff or longest is below 0; both are seconds")
        if not self.factor >= 1:
            raise InputError(f"Retry: factor is {self.factor}; give 1 or more, since waits do not get shorter")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""

        async def handle(request: Request, go_on: Next) -> Value:
            number = 0
            while True:
                number += 1
                request.add(f"tries[{self.at}]", 1)
                try:
                    return await go_on(request)
                except EvalkitError as error:
                    seconds = self._wait(error, number, request)
                    if seconds is None:
                        raise
                request.add(f"retry_ms[{self.at}]", seconds * 1e3)
                await request.clock.sleep(seconds)
                request.sample += 1

        return handle

    def _wait(self, error: EvalkitError, number: int, request: Request) -> float | None:
        """Seconds to wait after try `number`; None: give up."""
        final = isinstance(error, CallFailed) and error.final
        if number >= self.tries or final or kind_of(error) not in self.on:
            return None
        after = error.after if isinstance(error, Refused) else 0.0
        if after > self.longest:
            return None
        seconds = min(self.longest, self.backoff * self.factor ** min(number - 1, 1000))
        if self.jitter == "full":
            which = f"{self.seed} {self.at} {request.number} {request.sample} {number} {request.text}"
            seconds *= Random(which).random()  # noqa: S311
        return max(seconds, after)
