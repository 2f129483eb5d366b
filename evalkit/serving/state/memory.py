"""Entries in the memory of one process, bounded in bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from evalkit.errors import InputError
from evalkit.served import Serving
from evalkit.serving.state.base import Entry

ENTRY = 512
"""Bytes that Python needs for an entry beside its texts and its value: record, numbers, place in the order."""

TAG = 384
"""Bytes for each tag beside its text: its place in the entry and in the index."""


@dataclass(frozen=True)
class Memory:
    """Keeps entries in memory; the one that was used last of all goes when there is no more room.

    Used is what is put or given (`State.hit`); to be looked at is no use. An entry counts as the UTF-8 bytes of its
    key, tags and maker, its value, 512 bytes for itself and 384 for every tag, which is what CPython needs at most.
    Every space has its own bound.

    Parameters
    ----------
    max_bytes : int
        Default 100 MB.
    """

    max_bytes: int = 100_000_000

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise InputError(f"Memory: max_bytes is {self.max_bytes}; give at least 1")

    def open(self, space: str, serving: Serving) -> MemoryState:
        """Return the state of one space, empty: nobody else can see it."""
        return MemoryState(self.max_bytes, serving)


class MemoryState:
    """See `Memory`. Every operation is one step of the event loop."""

    def __init__(self, max_bytes: int, serving: Serving) -> None:
        self.counts: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._now = serving.now
        self._kept: OrderedDict[str, Entry] = OrderedDict()  # unlike a dict's, its head goes in O(1)
        self._tagged: dict[str, dict[str, None]] = {}
        self._bytes = 0

    async def get(self, key: str) -> Entry | None:
        """Return what is kept, if it is alive."""
        entry = self._kept.get(key)
        if entry is not None:
            now = self._now()
            if entry.alive(now):
                self.counts["hits"] += 1
                return entry
            if entry.made <= now:  # what another calendar calls the future is left to whoever lives there
                self._remove(key)
                self.counts["expired"] += 1
        self.counts["misses"] += 1
        return None

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry in the place of what was there; one larger than the bound is not kept."""
        self._remove(key)
        size = counted(key, entry)
        if size > self._max_bytes:
            return
        self._kept[key] = entry
        for tag in entry.tags:
            self._tagged.setdefault(tag, {})[key] = None
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._kept)))
            self.counts["evictions"] += 1
        self.counts["puts"] += 1
        self.counts["bytes"] = self._bytes

    async def hit(self, key: str, now: float) -> None:
        """Count that an entry was given; it is then the one that was used last."""
        if (e := self._kept.get(key)) is not None:
            self._kept[key] = Entry(e.value, e.made, e.ttl, e.tags, e.by, e.hits + 1, now, e.level)
            self._kept.move_to_end(key)

    async def delete(self, key: str) -> bool:
        """Drop an entry; whether there was one."""
        return self._remove(key)

    async def drop(self, tag: str) -> int:
        """Drop every entry with a tag; how many."""
        return self._remove_all(tuple(self._tagged.get(tag, ())))

    async def clear(self) -> int:
        """Drop everything; how many."""
        return self._remove_all(tuple(self._kept))

    async def items(self) -> AsyncIterator[tuple[str, Entry]]:
        """Go through what is alive, in the order of the keys."""
        for key in sorted(self._kept):
            entry = self._kept.get(key)  # it may have gone meanwhile
            if entry is not None and entry.alive(self._now()):
                yield key, entry

    async def close(self) -> None:
        """Let go of everything."""
        self._remove_all(tuple(self._kept))

    def _remove_all(self, keys: Iterable[str]) -> int:
        return sum(self._remove(key) for key in keys)

    def _remove(self, key: str) -> bool:
        entry = self._kept.pop(key, None)
        if entry is None:
            return False
        for tag in entry.tags:
            if (keys := self._tagged.get(tag)) is not None:  # a tag may be named twice
                keys.pop(key, None)
                if not keys:
                    del self._tagged[tag]
        self._bytes -= counted(key, entry)
        self.counts["bytes"] = self._bytes
        return True


def counted(key: str, entry: Entry, each: int = ENTRY, tag: int = TAG) -> int:
    """Return the bytes that an entry counts: key, value, tags and maker, and an overhead for itself and each tag."""
    size = each + _length(key) + len(entry.value) + _length(entry.by)
    for text in entry.tags:
        size += tag + _length(text)
    return size


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
