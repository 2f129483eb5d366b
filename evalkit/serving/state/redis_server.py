"""A Redis server that may go and come back: its connections, and when it is asked."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from evalkit.errors import InputError
from evalkit.types import Clock

T = TypeVar("T")

log = logging.getLogger("evalkit")

_CONNECTIONS = 16


class Server:
    """Asks a server; while it cannot be reached it is left alone, and now and then one question looks again.

    Parameters
    ----------
    connect : function
        Makes a client, which connects on first use.
    clock : Clock
    max_seconds, retry_after : float
        See `Redis`.
    counts : Counter
        ``errors`` and ``skipped`` are counted there.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        clock: Clock,
        max_seconds: float,
        retry_after: float,
        counts: Counter[str],
    ) -> None:
        self._connect, self._clock, self._counts = connect, clock, counts
        self._max_seconds, self._retry_after = max_seconds, retry_after
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: float | None = None

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T | None:
        """Return the answer to a question; None where the server is gone, or says no."""
        from redis.exceptions import RedisError, ResponseError

        if self._client is None or self._loop is not asyncio.get_running_loop():  # connections belong to one loop
            self._loop = asyncio.get_running_loop()
            self._client, self._turns = self._connect(), asyncio.Semaphore(_CONNECTIONS)
        client = self._client
        async with self._turns:
            if not self._may_ask():
                self._counts["skipped"] += 1
                return None
            try:
                async with self._clock.io(), asyncio.timeout(self._max_seconds):
                    answer = await question(client)
            except ResponseError:  # it is there, and refuses: no memory, no right
                self._counts["errors"] += 1
                self._again = None
                return None
            except (RedisError, OSError) as error:  # a time-out is an OSError
                self._counts["errors"] += 1
                if self._again is None:
                    log.warning("Redis: gone (%s); goes on without, and looks again", type(error).__name__)
                self._again = self._clock.now() + self._retry_after
                return None
            self._again = None
            return answer

    async def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            async with self._clock.io():
                await client.aclose()

    def _may_ask(self) -> bool:
        """Whether the server is there as far as is known; of many that would look again, one does."""
        now = self._clock.now()
        if self._again is None:
            return True
        if now < self._again:
            return False
        self._again = now + self._retry_after
        return True


def connects(url: str) -> Callable[[], Any]:
    """Return what makes a client; the URL is in no object's fields, as it may hold a password."""
    try:
        from redis import asyncio as redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise InputError("Redis: its client is not installed; pip install 'evalkit[services]'") from None

    def make() -> Any:
        # a connection may have ended unnoticed, so once more at once; no limits, as `max_seconds` is the whole
        return redis.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 1)
        )

    try:
        make()
    except (ValueError, TypeError):
        raise InputError("Redis: REDIS_URL is no URL such as redis://127.0.0.1:6379/0") from None
    return make


def check_place(url: str) -> None:
    """Refuse a URL that is none, or may hold a password, which is therefore not shown."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("redis", "rediss", "unix") and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    else:
        if "@" in parts.netloc or parts.fragment or not re.fullmatch(r"(db=\d+)?", parts.query):
            raise InputError("Redis: url holds more than a place; a password belongs into REDIS_URL, url left out")
    if not whole:
        raise InputError("Redis: url is no URL such as redis://127.0.0.1:6379/0")
