"""Virtual time: waiting is free, work takes the time it really took, pending sockets hold time still."""

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
    """Where asyncio would wait for its next timer, moves the virtual time there instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pending = 0

    def select(self, timeout: float | None = None) -> Any:
        if self.pending:
            return super().select(_POLL if timeout is None else min(timeout, _POLL))
        ready = super().select(0)
        if not ready:
            if timeout is None:
                return super().select(None)  # nothing is scheduled: only another thread can go on
            self.now += timeout
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
            started = time.perf_counter()
            value = work()
            await asyncio.sleep(self._cost(stage, time.perf_counter() - started))
            return value

    @asynccontextmanager
    async def io(self) -> AsyncIterator[None]:
        """While a real socket is pending: time is not moved past what it waits for."""
        self._loop.selector.pending += 1
        try:
            yield
        finally:
            self._loop.selector.pending -= 1
