"""Not asking for a while what keeps failing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from evalkit.errors import EvalkitError, InputError
from evalkit.served import Handler, Next, Place, Request, Serving
from evalkit.serving.layers.failures import kind_of
from evalkit.serving.layers.subjects import subject
from evalkit.serving.refused import Refused
from evalkit.values import Value


@dataclass(frozen=True)
class CircuitBreaker:
    """Refuses at once, with ``open``, while what it stands around keeps failing.

    Closed, it lets everyone in. It opens when, of what ended in the last `window` seconds, `failures` or more failed
    and these are at least the `share` of all. Open, it refuses for `open_for` seconds and says how long still. Then,
    half-open, it lets `probes` in: if all succeed it closes, with nothing remembered; at the first that fails it
    opens again. What began before the state last changed counts no more. Failures are calls without an answer,
    time-outs and work that raised; refusals of layers further in and users who leave are none.
    ``breaker[<at>]`` is noted: the state in which a request met it.

    Parameters
    ----------
    failures : int
        At least 1.
    share : float
        From 0 (their number alone decides) to 1.
    window : float
        Seconds.
    open_for : float
        Seconds.
    probes : int
        At least 1.
    per : {"service", "model"}
        Whether each model has a breaker of its own.
    at : {"embed", "retrieve", "prompt", "answer", "generate"}

    References
    ----------
    M. Nygard, Release It!, Pragmatic Bookshelf, 2007 (chapter "Circuit Breaker").
    """

    failures: int = 5
    share: float = 0.5
    window: float = 60.0
    open_for: float = 30.0
    probes: int = 1
    per: Literal["service", "model"] = "model"
    at: Place = "generate"

    def __post_init__(self) -> None:
        if self.failures < 1 or self.probes < 1:
            raise InputError("CircuitBreaker: failures and probes must be at least 1")
        if not 0 <= self.share <= 1:
            raise InputError(f"CircuitBreaker: share is {self.share}; it lies between 0 and 1")
        if not (self.window > 0 and self.open_for >= 0):
            raise InputError("CircuitBreaker: window must be above 0 and open_for at least 0; both are seconds")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work, closed."""
        breakers: dict[tuple[str, ...], _Breaker] = {}

        async def handle(request: Request, go_on: Next) -> Value:
            breaker = breakers.setdefault(subject(self.per, request, go_on), _Breaker(self))
            try:
                epoch = breaker.enter(request.clock.now())
            finally:
                request.note(f"breaker[{self.at}]", breaker.state)
            failed: bool | None = None
            try:
                value = await go_on(request)
                failed = False
                return value
            except EvalkitError as error:
                failed = True if kind_of(error) in ("failed", "error") else None
                raise
            finally:
                breaker.ended(epoch, failed, request.clock.now())

        return handle


class _Breaker:
    def __init__(self, rule: CircuitBreaker) -> None:
        self.rule = rule
        self.state: Literal["closed", "open", "half-open"] = "closed"
        self._epoch = 0
        self._since = 0.0
        self._ended: deque[tuple[float, bool]] = deque()
        self._failed = 0
        self._trying = self._passed = 0

    def enter(self, now: float) -> int:
        """Let one in; returns what `ended` is told then."""
        left = self._since + self.rule.open_for - now
        if self.state == "open" and left <= 0:
            self._turn("half-open", now)
        if self.state == "open":
            raise Refused("CircuitBreaker", "open", left)
        if self.state == "half-open":
            if self._trying + self._passed >= self.rule.probes:
                raise Refused("CircuitBreaker", "open")
            self._trying += 1
        return self._epoch

    def ended(self, epoch: int, failed: bool | None, now: float) -> None:
        """Take down how one ended that was let in; None: neither well nor badly."""
        if epoch != self._epoch:
            return
        if self.state == "half-open":
            self._trying -= 1
            if failed:
                self._turn("open", now)
            elif failed is not None:
                self._passed += 1
                if self._passed >= self.rule.probes:
                    self._turn("closed", now)
        elif failed is not None:
            self._ended.append((now, failed))
            self._failed += failed
            while self._ended and self._ended[0][0] <= now - self.rule.window:
                self._failed -= self._ended.popleft()[1]
            enough = self._failed >= max(self.rule.failures, self.rule.share * len(self._ended))
            if failed and enough:
                self._turn("open", now)

    def _turn(self, state: Literal["closed", "open", "half-open"], now: float) -> None:
        self.state, self._since = state, now
        self._epoch += 1
        self._ended.clear()
        self._failed = self._trying = self._passed = 0
