"""Virtual time: waiting is free, work takes what it really took, no time is skipped while a socket is pending."""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Where asyncio would wait for its next timer, moves the virtual time there instead.

    While a socket is pending nothing is skipped: time passes as it really does, so that what waits for the socket
    neither times out early nor waits for nothing. Work is done in the loop's own thread, so nobody looks at sockets
    while it lasts: time stands still meanwhile, and catches up as soon as what has come to them is taken in. Else
    a reply that was there in time would time out behind somebody else's work.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._pending = 0
        self._since = 0.0
        self._behind = 0.0

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
            self._now, self._behind = now, 0.0

    def stood(self, seconds: float) -> None:
        """Take back what passed while work kept everyone from looking."""
        if self._pending:
            self._since += seconds
            self._behind += seconds

    def select(self, timeout: float | None = None) -> Any:
        if self._pending:
            return self._catch_up(timeout) if self._behind else super().select(timeout)
        if timeout is None:
            return super().select(None)  # nothing is scheduled: only another thread can go on
        # The one file that is always there wakes a loop that waits, which this one never does here.
        ready = super().select(0) if len(self.get_map()) > 1 else []
        if not ready:
            # late in a long day a short wait may be less than the next number that there is
            self._now = max(self._now + timeout, math.nextafter(self._now, math.inf)) if timeout > 0 else self._now
        return ready

    def _catch_up(self, timeout: float | None) -> Any:
        ready = super().select(0)
        if not ready:
            step = self._behind if timeout is None else min(self._behind, timeout)
            self._now += step
            self._behind -= step
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. ``asyncio.sleep`` and time-outs follow it too."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.selector.now

    @property
    def _clock_resolution(self) -> float:
        """How far off a timer that is due may seem: late in a long time numbers lie further apart."""
        return max(1e-9, 2 * math.ulp(self.selector.now))

    @_clock_resolution.setter
    def _clock_resolution(self, seconds: float) -> None:
        """Asyncio sets that of the real clock."""


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
        self._time = self._loop.selector
        self._cores = _Cores(cores)
        self._main: asyncio.Task[Any] | None = None
        self._cost = cost
        self._free: Callable[[str], bool] = getattr(cost, "free", lambda stage: False)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in this clock's time, and close the loop."""
        try:
            main: asyncio.Task[T] = self._loop.create_task(work)
            self._main = main
            return self._loop.run_until_complete(main)
        finally:
            left = asyncio.all_tasks(self._loop)  # after an error other requests are still on their way
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def stop(self) -> None:
        """Cancel what `run` runs, from another thread."""
        if self._main is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._main.cancel)

    def now(self) -> float:
        """Virtual seconds since the clock was made."""
        return self._time.now

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(seconds)

    async def elapse(self, seconds: float) -> None:
        """Let modelled time pass, which is waiting like any other."""
        await asyncio.sleep(seconds)

    async def compute(self, stage: str, work: Callable[[], T]) -> T:
        """Do `work` on one of the cores, and let its time pass for everyone."""
        if self._free(stage):
            return work()
        cores = self._cores
        if cores.free:
            cores.free -= 1
        else:
            await cores.turn()
        try:
            started = time.perf_counter()
            try:
                value = work()
            finally:
                took = time.perf_counter() - started
                self._time.stood(took)
            await asyncio.sleep(self._cost(stage, took))
            return value
        finally:
            cores.hand_on()

    def io(self) -> AbstractAsyncContextManager[None]:
        """While a real socket is pending: time passes as it really does."""
        return _Held(self._time)


class _Cores:
    """Cores, and who waits for one: first come, first served."""

    def __init__(self, number: int) -> None:
        self.free = number
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait until a core is handed on."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self.hand_on()  # it came, and whom it came to has left
            raise

    def hand_on(self) -> None:
        """Give a core to the next one who still waits."""
        while self._waiting:
            if not (next_one := self._waiting.popleft()).done():
                next_one.set_result(None)
                return
        self.free += 1


class _Held:
    """Time that is not skipped."""

    __slots__ = ("_time",)

    def __init__(self, of: _Selector) -> None:
        self._time = of

    async def __aenter__(self) -> None:
        self._time.hold()

    async def __aexit__(self, *error: object) -> None:
        self._time.release()
