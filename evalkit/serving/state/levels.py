"""Quick and small before slow and large."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from evalkit.errors import InputError
from evalkit.served import Serving
from evalkit.serving.state.base import Entry, State, Storage
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.sqlite import SQLite


@dataclass(frozen=True)
class Levels:
    """Looks in one storage after the other; what a lower one has is put into those above it, as it was made.

    `Entry.level` names the storage that had it (``Memory``; a second one is ``Memory 2``). What is put, dropped or
    deleted is so in all of them when the call returns, the lowest first. `State.hit` is awaited in the first; the
    others are told beside the requests, so that what is in daily use above is not what they let go of first.

    ``counts`` has ``look-ups`` and, for every level, ``hits <name>``: the shares of the levels are of all look-ups,
    not of those that came so far down, so that they add up to the hit rate (`shares`). ``bytes``, ``evictions``,
    ``expired``, ``errors`` and ``skipped`` are the sums over the levels.

    Parameters
    ----------
    levels : tuple of Storage
        The quickest first.
    """

    levels: tuple[Storage, ...] = field(default_factory=lambda: (Memory(), SQLite()))

    def __post_init__(self) -> None:
        if not self.levels:
            raise InputError("Levels: there are none; give the quickest storage first, as in [Memory, SQLite]")

    def open(self, space: str, serving: Serving) -> LevelsState:
        """Return the states of one space in every level, as one."""
        return LevelsState([storage.open(space, serving) for storage in self.levels], names(self.levels), serving)


class LevelsState:
    """See `Levels`."""

    def __init__(self, states: Sequence[State], named: Sequence[str], serving: Serving) -> None:
        self.counts: Counter[str] = Counter()
        self.levels = dict(zip(named, states, strict=True))
        self._states, self._names, self._beside = tuple(states), tuple(named), serving.beside
        self._looks: set[_Look] = set()

    async def get(self, key: str) -> Entry | None:
        """Return what is kept, if it is alive, from the first level that has it."""
        self.counts["look-ups"] += 1
        if (entry := await self._states[0].get(key)) is not None:
            return self._found(entry, 0)
        look = _Look(key)
        self._looks.add(look)
        try:
            for depth, state in enumerate(self._states[1:], 1):
                if (entry := await state.get(key)) is not None:
                    await self._promote(look, entry, depth)
                    return self._found(entry, depth)
        finally:
            self._looks.discard(look)
            self._add_up()
        self.counts["misses"] += 1
        return None

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry in every level."""
        for state in reversed(self._states):
            await state.put(key, entry)
            self._changed(key)
        self.counts["puts"] += 1
        self._add_up()

    async def hit(self, key: str, now: float) -> None:
        """Count that an entry was given."""
        await self._states[0].hit(key, now)
        for state in self._states[1:]:
            self._beside(state.hit(key, now))

    async def delete(self, key: str) -> bool:
        """Drop an entry from every level; whether there was one."""
        found = False
        for state in reversed(self._states):
            found = await state.delete(key) or found
            self._changed(key)
        self._add_up()
        return found

    async def drop(self, tag: str) -> int:
        """Drop every entry with a tag; how many, in the level that had most."""
        return max([await self._all_gone(state, tag) for state in reversed(self._states)])

    async def clear(self) -> int:
        """Drop everything in this space; how many, in the level that had most."""
        return max([await self._all_gone(state, None) for state in reversed(self._states)])

    async def items(self) -> AsyncIterator[tuple[str, Entry]]:
        """Go through what is alive in any level, in the order of the keys."""
        streams = [(name, state.items()) for name, state in self.levels.items()]
        heads = {name: await anext(stream, None) for name, stream in streams}
        while left := {name: head for name, head in heads.items() if head is not None}:
            key = min(head[0] for head in left.values())
            having = [name for name, head in left.items() if head[0] == key]
            yield key, replace(left[having[0]][1], level=having[0])
            for name, stream in streams:
                if name in having:
                    heads[name] = await anext(stream, None)

    async def close(self) -> None:
        """Let go of what the levels hold."""
        for state in self._states:
            await state.close()

    def shares(self) -> dict[str, float]:
        """Return the hits of every level, as a share of all look-ups; 0 where there were none."""
        asked = max(1, self.counts["look-ups"])
        return {name: self.counts[f"hits {name}"] / asked for name in self._names}

    def _found(self, entry: Entry, depth: int) -> Entry:
        name = self._names[depth]
        self.counts["hits"] += 1
        self.counts[f"hits {name}"] += 1
        e = entry
        return Entry(e.value, e.made, e.ttl, e.tags, e.by, e.hits, e.last_hit, name)

    async def _promote(self, look: _Look, entry: Entry, depth: int) -> None:
        """Put an entry into the levels above, unless it was replaced or dropped since it was read."""
        for state in reversed(self._states[:depth]):
            if not look.stale:
                await self._lift(look, entry, state)

    async def _lift(self, look: _Look, entry: Entry, state: State) -> None:
        await state.put(look.key, entry)
        if look.stale:  # meanwhile
            await state.delete(look.key)

    async def _all_gone(self, state: State, tag: str | None) -> int:
        gone = await (state.clear() if tag is None else state.drop(tag))
        self._changed(None)
        self._add_up()
        return gone

    def _changed(self, key: str | None) -> None:
        """Tell those who are reading just now that what they find may be gone."""
        for look in self._looks:
            look.stale = look.stale or key is None or look.key == key

    def _add_up(self) -> None:
        for name in ("bytes", "evictions", "expired", "errors", "skipped"):
            if total := sum(state.counts[name] for state in self._states):
                self.counts[name] = total


class _Look:
    """A look-up that is on its way down."""

    __slots__ = ("key", "stale")

    def __init__(self, key: str) -> None:
        self.key, self.stale = key, False


def names(storages: Sequence[Storage]) -> list[str]:
    """Return what to call each of several storages: its class and, where there are more of it, a number."""
    seen: Counter[str] = Counter()
    found = []
    for storage in storages:
        kind = type(storage).__name__
        if (inner := getattr(storage, "inner", None)) is not None:
            kind = f"{kind} {type(inner).__name__}"
        seen[kind] += 1
        found.append(kind if seen[kind] == 1 else f"{kind} {seen[kind]}")
    return found
