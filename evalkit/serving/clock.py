"""Virtual time: waiting is free, work takes what it really took, no time is skipped while a socket is pending."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_POLL = 0.05


class _Selector(selectors.DefaultSelector):
    """Where asyncio would wait for its next timer, moves the virtual time there instead.

    While a socket is pending nothing is skipped: time passes as it really does, so that what waits for the socket
    neither times out early nor waits for nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._pending = 0
        self._since = 0.0

    @property
    def now(self) -> float:
        return self._now + (time.perf_counter() - self._since) if self._pending else self._now

    def hold(self) -> None:
        if not self._pending:
            self._since = time.perf_counter()
        self._pending += 1

    def release(self) -> None:
        now = self.now
        self._pending -= 1
        if not self._pending:
            self._now = now

    def select(self, timeout: float | None = None) -> Any:
        if self._pending:
            return super().select(_POLL if timeout is None else min(timeout, _POLL))
        ready = super().select(0)
        if not ready:
            if timeout is None:
                return super().select(None)  # nothing is scheduled: only another thread can go on
            self._now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. ``asyncio.sleep`` and time-outs follow it too."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.selector.now


class VirtualClock:
    """Virtual time on a machine with a number of cores.

    Parameters
    ----------
    cores : int
        Pieces of work that run at once; more wait their turn.
    cost : function, optional
        From a stage and the seconds its work took here to the seconds it shall take. Default: what it took.
        A recorded or fixed cost makes a replay the same to the bit in every run.
    """

    def __init__(self, cores: int = 1, cost: Callable[[str, float], float] = lambda stage, took: took) -> None:
        self._loop = VirtualLoop()
        self._cores = asyncio.Semaphore(cores)
        self._cost = cost

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in this clock's time, and close the loop."""
        try:
            return self._loop.run_until_complete(work)
        finally:
            left = asyncio.all_tasks(self._loop)  # after an error other requests are still on their way
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def now(self) -> float:
        """Virtual seconds since the clock was made."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(seconds)

    async def elapse(self, seconds: float) -> None:
        """Let modelled time pass, which is waiting like any other."""
        await asyncio.sleep(seconds)

    async def compute(self, stage: str, work: Callable[[], T]) -> T:
        """Do `work` on one of the cores, and let its time pass for everyone."""
        async with self._cores:
            began, started = self.now(), time.perf_counter()
            value = work()
            cost = self._cost(stage, time.perf_counter() - started)
            passed = self.now() - began  # none, but where a socket was pending meanwhile
            await asyncio.sleep(max(0.0, cost - passed))
            return value

    @asynccontextmanager
    async def io(self) -> AsyncIterator[None]:
        """While a real socket is pending: time passes as it really does."""
        self._loop.selector.hold()
        try:
            yield
        finally:
            self._loop.selector.release()
