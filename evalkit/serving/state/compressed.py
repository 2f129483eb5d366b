"""Smaller values, in any storage."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from evalkit.errors import InputError
from evalkit.served import Serving
from evalkit.serving.state.base import Entry, State, Storage
from evalkit.serving.state.memory import Memory

Method = Literal["gzip", "zlib", "lzma"]

_PLAIN, _SMALLER = b"\0", b"\1"
_PRESS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": lambda data, level: gzip.compress(data, level, mtime=0),
    "zlib": zlib.compress,
    "lzma": lambda data, level: lzma.compress(data, preset=level),
}
_OPEN: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zlib": zlib.decompress,
    "lzma": lzma.decompress,
}
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Compressed:
    """Keeps values compressed in another storage; one that would not be smaller is kept as it is.

    The work is done on the clock (stages ``compress`` and ``decompress``): it takes a core and its time. ``counts``
    tells of the bytes of all values before and after, ``bytes before`` and ``bytes after``, beside what the other
    storage counts.

    Parameters
    ----------
    inner : Storage
        Where the values lie.
    method : {"gzip", "zlib", "lzma"}
        ``zlib`` is ``gzip`` (RFC 1952) with a shorter frame (RFC 1950).
    level : int
        From 0 (quick) to 9 (small).
    """

    inner: Storage = field(default_factory=Memory)
    method: Method = "gzip"
    level: int = 6

    def __post_init__(self) -> None:
        if self.method not in _PRESS:
            raise InputError(f"Compressed: method is {self.method!r}; it is one of {', '.join(map(repr, _PRESS))}")
        if not 0 <= self.level <= 9:
            raise InputError(f"Compressed: level is {self.level}; give one from 0 to 9")

    def open(self, space: str, serving: Serving) -> CompressedState:
        """Return the state of one space of the other storage."""
        return CompressedState(self, self.inner.open(space, serving), serving)


class CompressedState:
    """See `Compressed`."""

    def __init__(self, storage: Compressed, inner: State, serving: Serving) -> None:
        self.counts: Counter[str] = inner.counts
        self._inner = inner
        self._level = storage.level
        self._press, self._open = _PRESS[storage.method], _OPEN[storage.method]
        self._clock = serving.clock

    async def get(self, key: str) -> Entry | None:
        """Return what is kept, if it is alive and whole."""
        entry = await self._inner.get(key)
        if entry is None:
            return None
        if (value := await self._opened(entry.value)) is None:
            self.counts.update({"errors": 1, "misses": 1, "hits": -1})
            await self._inner.delete(key)
            return None
        return replace(entry, value=value)

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, its value compressed."""
        value = await self._clock.compute("compress", lambda: self._pressed(entry.value))
        self.counts.update({"bytes before": len(entry.value), "bytes after": len(value)})
        await self._inner.put(key, replace(entry, value=value))

    async def hit(self, key: str, now: float) -> None:
        """Count that an entry was given."""
        await self._inner.hit(key, now)

    async def delete(self, key: str) -> bool:
        """Drop an entry; whether there was one."""
        return await self._inner.delete(key)

    async def drop(self, tag: str) -> int:
        """Drop every entry with a tag; how many."""
        return await self._inner.drop(tag)

    async def clear(self) -> int:
        """Drop everything in this space; how many."""
        return await self._inner.clear()

    async def items(self) -> AsyncIterator[tuple[str, Entry]]:
        """Go through what is alive and whole."""
        async for key, entry in self._inner.items():
            if (value := await self._opened(entry.value)) is not None:
                yield key, replace(entry, value=value)

    async def close(self) -> None:
        """Let go of what the other storage holds."""
        await self._inner.close()

    def _pressed(self, value: bytes) -> bytes:
        smaller = self._press(value, self._level)
        return _SMALLER + smaller if len(smaller) < len(value) else _PLAIN + value

    async def _opened(self, kept: bytes) -> bytes | None:
        if kept[:1] == _PLAIN:
            return kept[1:]
        if kept[:1] != _SMALLER or len(kept) == 1:
            return None
        try:
            return await self._clock.compute("decompress", lambda: self._open(kept[1:]))
        except _DAMAGED:
            return None
