"""So many requests, or tokens, in a time: a token bucket."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, cast

from evalkit.errors import InputError
from evalkit.llm.messages import Chat
from evalkit.llm.tokens import estimate_tokens
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.layers.subjects import Per, subject
from evalkit.serving.refused import Refused
from evalkit.types import Clock
from evalkit.values import Prompt, Prompts, Value

_ROUNDING = 1e-7
"""Seconds: a timer may come early by a rounding, and who has waited as long as was said must not wait again."""

_MANY = 1024


@dataclass(frozen=True)
class RateLimit:
    """Lets in `rate` requests, or tokens of prompts, a minute or a second, and `burst` at once after a pause.

    A token bucket: it holds `burst` at most, is full at first and refilled without pause, so that in any t seconds
    no more than ``rate * t + burst`` get through. A request that is over the rate is refused with ``over the rate``
    (and after how many seconds it would not be), or waits, first come, first served. One that is larger than the
    bucket is always refused: ``larger than the burst``. ``rate_ms[<at>/<per>]`` is noted: the milliseconds that a
    request waited.

    Parameters
    ----------
    rate : float
        Above 0, for each that is counted.
    of : {"requests", "tokens"}
        What is counted. Tokens are those of the prompt, estimated (`evalkit.llm.tokens.estimate_tokens`).
    each : {"second", "minute"}
        What `rate` is for.
    burst : float or None
        What the bucket holds. None: what comes in one second or minute, but at least 1.
    per : {"service", "model", "user", "tenant"}
        Who has a bucket of its own.
    on : {"refuse", "wait"}
        What becomes of a request over the rate.
    wait : float or None
        With ``on="wait"``: who would have to wait longer than so many seconds is refused at once. None: nobody.
    at : {"embed", "retrieve", "prompt", "answer", "generate"}
        What is counted: calls of models, or whole requests. Tokens need ``generate``, where the prompt is known.

    References
    ----------
    J. Turner, New directions in communications (or which way to the information age?), IEEE Communications
    Magazine 24 (10), 1986.
    """

    rate: float = 60.0
    of: Literal["requests", "tokens"] = "requests"
    each: Literal["second", "minute"] = "minute"
    burst: float | None = None
    per: Per = "user"
    on: Literal["refuse", "wait"] = "refuse"
    wait: float | None = None
    at: Place = "generate"

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise InputError(f"RateLimit: rate is {self.rate}; give a number above 0")
        if self.burst is not None and not self.burst >= 1:
            raise InputError(
                f"RateLimit: burst is {self.burst}; a bucket that holds less than 1 lets nothing through"
            )
        if self.wait is not None and not self.wait >= 0:
            raise InputError(f"RateLimit: wait is {self.wait}; give seconds of 0 or more, or None for ever")
        if self.of == "tokens" and self.at != "generate":
            raise InputError(f"RateLimit: no prompt to count tokens of at {self.at!r}; set at to 'generate'")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work, with every bucket full."""
        rate = self.rate / (60 if self.each == "minute" else 1)
        burst = max(1.0, self.rate) if self.burst is None else self.burst
        buckets: dict[tuple[str, ...], _Bucket] = {}
        name = f"rate_ms[{self.at}/{self.per}]"

        async def handle(request: Request, go_on: Next) -> Value:
            key = subject(self.per, request, go_on)
            if (bucket := buckets.get(key)) is None:
                _forget_full(buckets)
                bucket = buckets[key] = _Bucket(rate, burst, request.clock)
            since = request.clock.now()
            try:
                await self._take(bucket, self._size(go_on))
            finally:
                request.add(name, (request.clock.now() - since) * 1e3)
            return await go_on(request)

        return handle

    def _size(self, go_on: Next) -> float:
        if self.of == "requests":
            return 1.0
        op: Any = go_on.node.op
        text = getattr(op, "chat", Chat()).messages(Prompt.rows(cast("Prompts", go_on.inputs[0]))[0]).text
        return float(estimate_tokens(text, str(getattr(op, "model", ""))))

    async def _take(self, bucket: _Bucket, size: float) -> None:
        if size > bucket.burst:
            raise Refused("RateLimit", "larger than the burst")
        seconds = bucket.seconds_to(size)
        if seconds <= _ROUNDING:
            bucket.level -= size
            return
        if self.on == "refuse" or (self.wait is not None and seconds > self.wait):
            raise Refused("RateLimit", "over the rate", seconds)
        await bucket.wait_for(size)


class _Bucket:
    """A bucket and who waits for it, in order. It may be overdrawn by a rounding, which is made up for."""

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self.level, self.filled = burst, clock.now()
        self.waiting: OrderedDict[asyncio.Future[None], float] = OrderedDict()
        self.asked = 0.0  # by all who wait
        self._timer: asyncio.TimerHandle | None = None

    def fill(self) -> None:
        now = self.clock.now()
        self.level = min(self.burst, self.level + (now - self.filled) * self.rate)
        self.filled = now

    def seconds_to(self, size: float) -> float:
        """Seconds until one who comes now may take so much, behind all who wait."""
        self.fill()
        return max(0.0, (self.asked + size - self.level) / self.rate)

    async def wait_for(self, size: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[turn] = size
        self.asked += size
        if len(self.waiting) == 1:
            self._go_on()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._drop(turn)
            else:  # it was let in while its user left
                self.level = min(self.burst, self.level + size)
            self._go_on()
            raise

    def _go_on(self) -> None:
        """Let in who may, and look again when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.fill()
        while self.waiting:
            turn, size = next(iter(self.waiting.items()))
            short = (size - self.level) / self.rate
            if short > _ROUNDING and not turn.done():
                self._timer = asyncio.get_running_loop().call_later(short, self._go_on)
                return
            self._drop(turn)
            if not turn.done():  # else its user has just left
                self.level -= size
                turn.set_result(None)

    def _drop(self, turn: asyncio.Future[None]) -> None:
        self.asked -= self.waiting.pop(turn, 0.0)


def _forget_full(buckets: dict[tuple[str, ...], _Bucket]) -> None:
    """Now and then drop who has not come for long: a full bucket is like a new one."""
    if len(buckets) and len(buckets) % _MANY == 0:
        for key, bucket in list(buckets.items()):
            if bucket.seconds_to(bucket.burst) == 0:
                del buckets[key]
