"""Entries in a Redis server, which many machines share; while it is gone they are not there."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evalkit.clock import WallClock
from evalkit.errors import InputError
from evalkit.served import Serving
from evalkit.serving.state.base import Entry
from evalkit.serving.state.redis_server import Server, check_place, connects
from evalkit.serving.state.scripts import DELETE, DROP, HIT, PUT, packed, unpacked

_BATCH = 256
_OWED = 10_000
_FIELDS = ("value", "made", "ttl", "tags", "by", "hits", "last_hit")
_SPECIAL = re.compile(r"([*?\[\]\\^-])")


@dataclass(frozen=True)
class Redis:
    """Keeps entries in a Redis server (6 or later, no cluster), under keys of its own; it touches no others.

    An entry is a hash ``<prefix><space>:e:<key>``, a tag a set ``<prefix><space>:t:<tag>``. Whether an entry may be
    given is said by its TTL and the service's clock. The server's own expiry only clears up: on real time when the
    TTL ends, else after `forget_after`. How much room there is, and what goes first, is the server's to say
    (``maxmemory``). ``counts`` also has ``skipped``: what was not asked because the server was gone just before.

    Parameters
    ----------
    url : str
        ``redis://host:port/database``, ``rediss://`` or ``unix://``. Default: what the environment variable
        ``REDIS_URL`` says, which may hold a password; this field may not. No part of the identity.
    prefix : str
        Before every key. No part of the identity.
    max_seconds : float
        For which the server may take to answer one question, its connection included.
    retry_after : float
        Seconds, on the service's clock, for which the server is left alone after it could not be reached.
    forget_after : float
        Seconds after which the server may forget what has no TTL or a virtual one. Default: a week.
    """

    url: str = field(default="", repr=False)
    prefix: str = "evalkit:"
    max_seconds: float = 0.5
    retry_after: float = 1.0
    forget_after: float = 604_800.0

    def __post_init__(self) -> None:
        if self.url:
            check_place(self.url)
        if not self.prefix.strip():
            raise InputError("Redis: prefix is blank; give one, so that nobody else's keys are touched")
        if not 0 < self.max_seconds < math.inf or not 0 <= self.retry_after < math.inf:
            raise InputError("Redis: max_seconds must be above 0 and retry_after at least 0, both finite")
        if not 1 <= self.forget_after <= 1e10:
            raise InputError("Redis: forget_after must be from 1 second to 1e10")

    def identity(self) -> dict[str, Any]:
        """Return what the storage is, wherever it lies."""
        return {"url": None, "prefix": None}

    def open(self, space: str, serving: Serving) -> RedisState:
        """Return the state of one space; it connects on first use.

        Raises
        ------
        InputError
            If no server is named.
        """
        url = self.url or os.environ.get("REDIS_URL", "").strip()
        if not url:
            raise InputError("Redis: no server is named; set REDIS_URL or url, as in redis://127.0.0.1:6379/0")
        return RedisState(self, connects(url), space, serving)


class RedisState:
    """See `Redis`. Every operation on an entry is one script of the server, which nothing comes between.

    What was to be taken away or replaced while the server was gone is taken away before it is asked again: it may not
    have ended, but been out of reach.
    """

    def __init__(self, storage: Redis, connect: Callable[[], Any], space: str, serving: Serving) -> None:
        self.counts: Counter[str] = Counter()
        self._storage, self._serving = storage, serving
        self._server = Server(connect, serving.clock, storage.max_seconds, storage.retry_after, self.counts)
        self._entries = _raw(f"{storage.prefix}{space}:e:")
        self._tags = _raw(f"{storage.prefix}{space}:t:")
        self._all = _raw(_SPECIAL.sub(r"\\\1", f"{storage.prefix}{space}:") + "*")
        self._owed: dict[tuple[str, str], None] = {}
        self._on_wall = isinstance(serving.clock, WallClock)

    async def get(self, key: str) -> Entry | None:
        """Return what is kept, if it is alive."""
        entry = None
        if await self._settled():
            entry = self._read(await self._server.ask(lambda redis: redis.hmget(self._entries + _raw(key), _FIELDS)))
        if entry is not None and entry.alive(self._serving.now()):
            self.counts["hits"] += 1
            return entry
        if entry is not None and entry.made <= self._serving.now():
            self.counts["expired"] += 1
            await self.delete(key)
        self.counts["misses"] += 1
        return None

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry in the place of what was there."""
        facts = {
            "value": entry.value,
            "made": _number(entry.made),
            "ttl": _number(entry.ttl),
            "tags": packed(map(_raw, entry.tags)),
            "by": _raw(entry.by),
            "hits": entry.hits,
            "last_hit": _number(entry.last_hit),
        }
        given = [self._milliseconds(entry), *(part for fact in facts.items() for part in fact)]
        if await self._settled() and await self._run(PUT, key, *given) is not None:
            self.counts["puts"] += 1
        else:
            self._owe("delete", key)

    async def hit(self, key: str, now: float) -> None:
        """Count that an entry was given."""
        await self._run(HIT, key, _number(now))

    async def delete(self, key: str) -> bool:
        """Drop an entry; whether there was one."""
        return await self._do("delete", key) > 0

    async def drop(self, tag: str) -> int:
        """Drop every entry with a tag; how many."""
        return await self._do("drop", tag)

    async def clear(self) -> int:
        """Drop everything in this space, and nothing else; how many."""
        return await self._do("clear", "")

    async def items(self) -> AsyncIterator[tuple[str, Entry]]:
        """Go through what is alive, in the order of the keys."""
        found = (await self._scan() or []) if await self._settled() else []
        keys = [key for key in found if key.startswith(self._entries)]
        for start in range(0, len(keys), _BATCH):
            part = keys[start : start + _BATCH]
            rows = await self._server.ask(partial(_rows, keys=part)) or []
            for key, row in zip(part, rows, strict=False):  # none where the server went meanwhile
                entry = self._read(row)
                if entry is not None and entry.alive(self._serving.now()):
                    yield _text(key.removeprefix(self._entries)), entry

    async def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        await self._server.close()

    def _milliseconds(self, entry: Entry) -> int:
        """After how long the server may forget an entry."""
        if self._on_wall and entry.ttl is not None:
            left = entry.made + entry.ttl - self._serving.now()
            return math.ceil(1000 * min(max(left, 0.0), 1e10))
        return math.ceil(1000 * self._storage.forget_after)

    def _read(self, row: Any) -> Entry | None:
        """Read what the server gave; what is no entry of ours is as good as none, and counted."""
        if row is None or (isinstance(row, list) and row[0] is None):
            return None
        try:
            value, made, ttl, tags, by, hits, last_hit = row
            ends, seen = (float(number) if number else None for number in (ttl, last_hit))
            return Entry(value, float(made), ends, tuple(map(_text, unpacked(tags))), _text(by), int(hits), seen)
        except (TypeError, ValueError, AttributeError):
            self.counts["errors"] += 1
            return None

    async def _do(self, what: str, name: str) -> int:
        """Take something away, now or, where the server is gone, as soon as it is back."""
        gone = await self._take_away(what, name)
        if gone is None:
            self._owe(what, name)
            return 0
        self._owed.pop((what, name), None)
        return gone

    def _owe(self, what: str, name: str) -> None:
        self._owed[what, name] = None
        if len(self._owed) > _OWED:
            self._owed = {("clear", ""): None}

    async def _settled(self) -> bool:
        """Do first what is owed: what should have gone while the server was gone may still be there."""
        while self._owed:
            what, name = next(iter(self._owed))
            if await self._take_away(what, name) is None:
                return False
            self._owed.pop((what, name), None)
        return True

    async def _take_away(self, what: str, name: str) -> int | None:
        if what == "clear":
            return await self._unlink_all()
        if what == "delete":
            gone = await self._run(DELETE, name)
        else:
            script = [self._tags + _raw(name)], [self._entries, self._tags, _raw(name)]
            gone = await self._server.ask(lambda redis: redis.register_script(DROP)(*script))
        return None if gone is None else int(gone)

    async def _unlink_all(self) -> int | None:
        keys = await self._scan()
        if keys is None:
            return None
        gone = 0
        for ours in (True, False):  # entries, which are counted, and the sets of tags
            some = [key for key in keys if key.startswith(self._entries) is ours]
            for start in range(0, len(some), _BATCH):
                found = await self._server.ask(partial(_unlink, keys=some[start : start + _BATCH]))
                if found is None:
                    return None
                gone += found * ours
        return gone

    async def _run(self, script: str, key: str, *given: Any) -> Any:
        keys, arguments = [self._entries + _raw(key)], [self._tags, _raw(key), *given]
        return await self._server.ask(lambda redis: redis.register_script(script)(keys, arguments))

    async def _scan(self) -> list[bytes] | None:
        """Return the keys of this space, each once, in order; the server goes on with others' questions meanwhile."""
        found: set[bytes] = set()
        cursor = 0
        while True:
            step = await self._server.ask(partial(_step, cursor=cursor, pattern=self._all))
            if step is None:
                return None
            cursor, keys = step
            found.update(keys)
            if not cursor:
                return sorted(found)


async def _unlink(redis: Any, keys: list[bytes]) -> int:
    return int(await redis.unlink(*keys))


async def _step(redis: Any, cursor: int, pattern: bytes) -> tuple[int, list[bytes]]:
    after, keys = await redis.scan(cursor, match=pattern, count=1000)
    return after, keys


async def _rows(redis: Any, keys: list[bytes]) -> list[Any]:
    async with redis.pipeline(transaction=False) as together:
        for key in keys:
            together.hmget(key, _FIELDS)
        return list(await together.execute(raise_on_error=False))


def _number(number: float | None) -> str:
    """Write a number so that the same one is read; nothing for none."""
    return "" if number is None else repr(float(number))


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
