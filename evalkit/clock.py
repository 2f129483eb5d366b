"""Real time, and the one thread in which asynchronous work runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


class WallClock:
    """Real time. Work runs in a thread, so that other requests go on."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def now(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def elapse(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def compute(self, stage: str, work: Callable[[], T]) -> T:
        """Do `work` in a thread."""
        return await asyncio.to_thread(work)

    @asynccontextmanager
    async def io(self) -> AsyncIterator[None]:
        """Nothing to hold: real time never jumps."""
        yield


class BatchClock(WallClock):
    """Real time for work and retries; modelled and recorded time passes at once, as nobody waits for an answer."""

    async def elapse(self, seconds: float) -> None:
        """Go on at once."""


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="evalkit-async", daemon=True).start()
    return loop


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in evalkit's own thread: a notebook's running loop is not ours."""
    return start_async(work).result()


def start_async(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine in evalkit's own thread; cancelling what is returned cancels it."""
    return asyncio.run_coroutine_threadsafe(work, _loop())
