"""What every storage of entries must hold to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from evalkit.clock import WallClock, run_async
from evalkit.served import Ingested
from evalkit.serving.clock import VirtualClock
from evalkit.serving.state.base import Entry, State, Storage
from evalkit.types import Clock, Digest, Node, Seam

ODD = ("", " ", "a*", "a?[b]\\", "{a}", "line\nline", "nul\0", "naïve 🙂", "\ud800", "x" * 2000)
"""Keys and tags that need care."""


class Bench:
    """A running service, as far as a state looks at it.

    Parameters
    ----------
    clock : Clock
    start : float
        What `now` says at the clock's beginning, in seconds.
    """

    fingerprint: Digest = "0" * 32
    nodes: Mapping[Seam, Node] = MappingProxyType({})
    clock: Clock
    run: str = ""

    def __init__(self, clock: Clock, start: float = 0.0) -> None:
        self.clock, self._start = clock, start
        self._beside: set[asyncio.Task[None]] = set()
        self._closing: list[Callable[[], Awaitable[None]]] = []

    def now(self) -> float:
        """Seconds since the start of the bench's calendar."""
        return self._start + self.clock.now()

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for, but `settle`."""
        self._beside.add(asyncio.ensure_future(work))

    def at_ingestion(self, told: Callable[[Ingested], Awaitable[None]]) -> None:
        """Never tell: nothing comes in."""

    def holds(self, state: State) -> None:
        """Nothing is told of it."""

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close when `end` is called."""
        self._closing.append(close)

    async def settle(self) -> None:
        """Wait for what is done beside."""
        while self._beside:
            await self._beside.pop()

    async def end(self) -> None:
        """Settle, and close what asked for it."""
        await self.settle()
        for close in self._closing:
            await close()


def check_state(storage: Storage) -> None:
    """Check a storage on a virtual and on a real clock; it must be reachable, and what it holds is cleared.

    Parameters
    ----------
    storage : Storage

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    virtual = VirtualClock()
    virtual.run(_all(storage, Bench(virtual, start=1000.0)))
    run_async(_all(storage, Bench(WallClock(), start=1e9)))


async def _all(storage: Storage, bench: Bench) -> None:
    try:
        for check in (
            _keeps_what_was_put, _counts_hits, _drops, _expires, _keeps_spaces_apart, _goes_through_items,
            _serves_many_at_once, _takes_odd_texts, _opens_again,
        ):  # fmt: skip
            state, other = storage.open("c0ffee", bench), storage.open("beef", bench)
            await state.clear()
            await other.clear()
            await check(storage, state, other, bench)
            await state.clear()
            await other.clear()
            await state.close()
            await other.close()
    finally:
        await bench.end()


async def _keeps_what_was_put(storage: Storage, state: State, other: State, bench: Bench) -> None:
    now = bench.now()
    entry = Entry(bytes(range(256)) * 3, now - 0.1, 3600.5, ("b", "a"), "17", 2, now - 0.05)
    assert await state.get("k") is None, f"{storage}: it has what nobody put"
    await state.put("k", entry)
    await _same(storage, await state.get("k"), entry)
    small = Entry(b"", now - 0.2)
    await state.put("k", small)
    await _same(storage, await state.get("k"), small)
    assert await state.drop("a") == 0, f"{storage}: an entry that was replaced still has its tags"
    await _same(storage, await state.get("k"), small)
    await state.put("twice", Entry(b"", now, tags=("t", "t")))
    assert await state.drop("t") == 1, f"{storage}: a tag that is named twice drops its entry twice"
    assert await state.get("twice") is None, f"{storage}: an entry lives on without its tag"
    counts = state.counts
    seen = {name: counts[name] for name in ("hits", "misses", "puts", "errors")}
    assert seen == {"hits": 3, "misses": 2, "puts": 3, "errors": 0}, f"{storage}: counts {seen}"


async def _same(storage: Storage, found: Entry | None, entry: Entry) -> None:
    assert found is not None, f"{storage}: it has lost {entry}"
    assert replace(found, level="") == entry, f"{storage}: it gives {found} for {entry}"


async def _counts_hits(storage: Storage, state: State, other: State, bench: Bench) -> None:
    made = bench.now()
    await state.put("k", Entry(b"v", made, 50.0))
    for at in (made + 1.5, made + 2.5):
        await state.hit("k", at)
    await state.hit("nothing", made)
    await bench.settle()
    await _same(storage, await state.get("k"), Entry(b"v", made, 50.0, hits=2, last_hit=made + 2.5))
    assert [key async for key, _ in state.items()] == ["k"], f"{storage}: a hit of nothing makes something"


async def _drops(storage: Storage, state: State, other: State, bench: Bench) -> None:
    made = bench.now()
    tagged: dict[str, tuple[str, ...]] = {"1": ("a",), "2": ("a", "b"), "3": ("b",), "4": ()}
    for key, tags in tagged.items():
        await state.put(key, Entry(b"v", made, tags=tags))
    assert await state.delete("4"), f"{storage}: delete does not say that there was one"
    assert not await state.delete("4"), f"{storage}: delete says that there was one"
    assert await state.drop("a") == 2, f"{storage}: two have the tag"
    assert await state.drop("a") == 0, f"{storage}: none has the tag any more"
    assert [key async for key, _ in state.items()] == ["3"], f"{storage}: a tag drops others than its own"
    assert await state.clear() == 1, f"{storage}: clear says how many there were"
    assert await state.get("3") is None, f"{storage}: clear leaves something"


async def _expires(storage: Storage, state: State, other: State, bench: Bench) -> None:
    now = bench.now()
    await state.put("never", Entry(b"v", now, 0.0))
    await state.put("old", Entry(b"v", now - 100, 99.0))
    await state.put("young", Entry(b"v", now - 100, 1e6))
    await state.put("for ever", Entry(b"v", now - 1e8))
    await state.put("to come", Entry(b"v", now + 1e5))
    found = {key for key in ("never", "old", "young", "for ever", "to come") if await state.get(key)}
    assert found == {"young", "for ever"}, f"{storage}: alive are {found}"
    assert [key async for key, _ in state.items()] == ["for ever", "young"], f"{storage}: items that are not alive"
    if isinstance(bench.clock, VirtualClock):
        await state.put("k", Entry(b"v", now, 1e6, ("t",)))
        for _ in range(3):
            await bench.clock.sleep(333_000)
            assert await state.get("k"), f"{storage}: an entry dies before its time"
            await state.hit("k", bench.now())
            await bench.settle()
        await bench.clock.sleep(1_000)
        assert await state.get("k") is None, f"{storage}: hits renew an entry's life"
        assert await state.get("for ever"), f"{storage}: what has no TTL dies"


async def _keeps_spaces_apart(storage: Storage, state: State, other: State, bench: Bench) -> None:
    made = bench.now()
    await state.put("k", Entry(b"here", made, tags=("t",)))
    assert await other.get("k") is None, f"{storage}: a space sees another"
    assert [key async for key, _ in other.items()] == [], f"{storage}: a space sees another's items"
    await other.put("k", Entry(b"there", made, tags=("t",)))
    await other.hit("k", made)
    await bench.settle()
    await _same(storage, await state.get("k"), Entry(b"here", made, tags=("t",)))
    assert await other.drop("t") == 1, f"{storage}: a tag is of all spaces"
    await other.put("k", Entry(b"there", made))
    assert await other.clear() == 1, f"{storage}: clear counts another space"
    await _same(storage, await state.get("k"), Entry(b"here", made, tags=("t",)))


async def _goes_through_items(storage: Storage, state: State, other: State, bench: Bench) -> None:
    made = bench.now()
    entries = {f"{i:03}": Entry(b"%d" % i, made, 1e6, ("even",) if i % 2 == 0 else ()) for i in range(300)}
    for key in sorted(entries, reverse=True):
        await state.put(key, entries[key])
    found = [(key, replace(entry, level="")) async for key, entry in state.items()]
    assert found == sorted(entries.items()), f"{storage}: items are not all there, or not in the order of the keys"
    async for key, entry in state.items():
        if entry.value.endswith(b"7"):  # poisoned
            await state.delete(key)
    left = [key async for key, _ in state.items()]
    sound = [key for key in sorted(entries) if key[-1] != "7"]
    assert left == sound, f"{storage}: of those removed on the way {len(left)} are left"
    assert await state.drop("even") == 150, f"{storage}: a tag of many"
    assert await state.clear() == 120, f"{storage}: a clear of many"


async def _serves_many_at_once(storage: Storage, state: State, other: State, bench: Bench) -> None:
    made = bench.now()

    async def one(i: int) -> bool:
        await state.put(f"{i}", Entry(b"%d" % i, made, tags=(f"t{i % 5}",)))
        found = await state.get(f"{i}")
        await state.hit(f"{i}", made)
        return found is not None and found.value == b"%d" % i

    assert all(await asyncio.gather(*map(one, range(60)))), f"{storage}: of many at once some got another's"
    assert sum(await asyncio.gather(*(state.drop(f"t{i}") for i in range(5)))) == 60, f"{storage}: drops at once"


async def _takes_odd_texts(storage: Storage, state: State, other: State, bench: Bench) -> None:
    made = bench.now()
    for text in ODD:
        await state.put(text, Entry(text.encode("utf-8", "surrogatepass"), made, tags=(text, "all"), by=text))
    for text in ODD:
        entry = Entry(text.encode("utf-8", "surrogatepass"), made, tags=(text, "all"), by=text)
        await _same(storage, await state.get(text), entry)
    assert [key async for key, _ in state.items()] == sorted(ODD), f"{storage}: odd keys in items"
    for text in ODD[::2]:
        assert await state.drop(text) == 1, f"{storage}: the tag {text!r}"
    assert await state.drop("all") == len(ODD) // 2, f"{storage}: odd keys under one tag"


async def _opens_again(storage: Storage, state: State, other: State, bench: Bench) -> None:
    await state.put("k", Entry(b"v", bench.now()))
    await state.close()
    await state.close()
    await state.put("k", Entry(b"w", bench.now()))
    found = await state.get("k")
    assert found is not None, f"{storage}: once closed it keeps nothing"
    assert found.value == b"w", f"{storage}: once closed it keeps something else"
