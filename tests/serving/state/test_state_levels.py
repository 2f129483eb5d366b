from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace

import pytest

from evalkit import InputError
from evalkit.serving.clock import VirtualClock
from evalkit.serving.state import Compressed, Levels, Memory, Redis, SQLite
from evalkit.serving.state.base import Entry
from evalkit.serving.state.levels import names
from evalkit.testing.conformance.states import Bench


@dataclass(frozen=True)
class Slow:
    """Memory behind a wire: a second on the way there and one on the way back, or `reading` with what was read."""

    reading: float = 1.0

    def open(self, space, serving):
        return SlowState(Memory().open(space, serving), serving.clock, self.reading)


class SlowState:
    def __init__(self, inner, clock, reading) -> None:
        self.inner, self.clock, self.reading, self.counts = inner, clock, reading, inner.counts

    def __getattr__(self, name):
        async def slowly(*given):
            await self.clock.sleep(1)
            found = await getattr(self.inner, name)(*given)
            await self.clock.sleep(self.reading if name == "get" else 1)
            return found

        return slowly

    async def items(self):
        async for item in self.inner.items():
            yield item


def play(storage, work):
    clock = VirtualClock()

    async def run():
        bench = Bench(clock, start=100.0)
        state = storage.open("ab", bench)
        found = await work(state, bench)
        await bench.settle()
        await state.close()
        return found

    return clock.run(run())


def test_a_lower_hit_is_put_above_as_it_was_made_and_served_from_there_next():
    entry = Entry(b"v", 40.0, 70.0, ("t",), "17", 3, 90.0)

    async def work(state, bench):
        lower = state.levels["Slow"]
        await lower.put("k", entry)
        found = [await state.get("k") for _ in range(2)]
        assert await state.levels["Memory"].get("k") == entry
        await bench.clock.sleep(10)
        return [*found, await state.get("k")]  # 110.0: its life ends where it would have ended below

    first, second, third = play(Levels((Memory(), Slow())), work)
    assert first == replace(entry, level="Slow")
    assert second == replace(entry, level="Memory")
    assert third is None


def test_the_shares_of_the_levels_are_of_all_look_ups_and_add_up_to_the_hit_rate():
    async def work(state, bench):
        await state.levels["Memory 2"].put("k", Entry(b"v", 0.0))
        for key in ("k", "k", "k", "x", "y"):
            await state.get(key)
        await state.levels["Memory 3"].put("low", Entry(b"v", 0.0))
        for key in ("low", "low", "z"):
            await state.get(key)
        return state.counts, state.shares()

    counts, shares = play(Levels((Memory(), Memory(), Memory())), work)
    assert shares == {"Memory": 3 / 8, "Memory 2": 1 / 8, "Memory 3": 1 / 8}
    assert (counts["look-ups"], counts["hits"], counts["misses"]) == (8, 5, 3)
    assert sum(shares.values()) == counts["hits"] / counts["look-ups"]
    assert play(Levels((Memory(),)), lambda state, bench: asyncio.sleep(0, state.shares())) == {"Memory": 0.0}


def test_what_memory_let_go_of_is_found_below():
    async def work(state, bench):
        for i in range(100):
            await state.put(f"{i}", Entry(bytes(100), 0.0))
        found = await state.get("0")
        counts = {name: level.counts["evictions"] for name, level in state.levels.items()}
        return found.level, counts, state.counts["evictions"], state.counts["bytes"]

    level, counts, evictions, size = play(Levels((Memory(10_000), Memory())), work)
    assert level == "Memory 2"
    assert counts["Memory"] > 80
    assert counts["Memory 2"] == 0
    assert evictions == counts["Memory"]
    assert 60_000 < size < 10_000 + 100 * 700


def test_what_is_in_daily_use_above_is_not_what_goes_first_below():
    async def work(state, bench):
        room = 10_000
        await state.put("hot", Entry(bytes(100), 0.0))
        for i in range(100):
            await state.put(f"{i}", Entry(bytes(100), 0.0))
            assert (await state.get("hot")).level == "Memory"
            await state.hit("hot", bench.now())
            await bench.settle()
        lower = state.levels["Memory 2"]
        assert lower.counts["bytes"] <= room
        return (await lower.get("hot")).hits

    assert play(Levels((Memory(), Memory(10_000))), work) == 100


@pytest.mark.parametrize("gone", ["delete", "drop", "clear", "put"])
@pytest.mark.parametrize("wait", [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
@pytest.mark.parametrize("reading", [1.0, 3.0])
@pytest.mark.parametrize("levels", [[Memory, Slow], [Slow, Slow], [Memory, Slow, Slow]], ids=len)
def test_what_is_taken_away_while_it_is_being_read_does_not_come_back_above(levels, reading, wait, gone):
    async def work(state, bench):
        for level in list(state.levels.values())[1:]:
            await level.put("k", Entry(b"old", 0.0, tags=("t",)))
        reading = asyncio.ensure_future(state.get("k"))
        await bench.clock.sleep(wait)
        match gone:
            case "put":
                await state.put("k", Entry(b"new", 0.0))
            case "clear":
                await state.clear()
            case _:
                await getattr(state, gone)("k" if gone == "delete" else "t")
        await reading
        seen = [await level.get("k") for level in state.levels.values()]
        return [entry and entry.value for entry in seen], await state.get("k")

    seen, found = play(Levels(tuple(Slow(reading) if kind is Slow else kind() for kind in levels)), work)
    if gone == "put":
        assert found is not None
        assert found.value == b"new"
        assert b"old" not in seen
    else:
        assert found is None
        assert set(seen) == {None}


def test_a_look_up_that_is_cancelled_leaves_nothing_behind():
    async def work(state, bench):
        reading = asyncio.ensure_future(state.get("k"))
        await bench.clock.sleep(1.5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await state.put("k", Entry(b"v", 0.0))
        return await state.get("k"), state._looks

    found, looks = play(Levels((Memory(), Slow())), work)
    assert found.level == "Memory"
    assert not looks


def test_levels_are_named_by_what_they_are():
    assert names((Memory(), Memory(), Compressed(SQLite()), Redis("redis://127.0.0.1:1"), Memory())) == [
        "Memory", "Memory 2", "Compressed SQLite", "Redis", "Memory 3",
    ]  # fmt: skip


def test_no_level_is_refused():
    with pytest.raises(InputError, match=r"^Levels: there are none; give the quickest storage first"):
        Levels(())


def test_items_are_each_once_with_the_level_that_has_them_first():
    async def work(state, bench):
        upper, lower = state.levels.values()
        for key in "bd":
            await upper.put(key, Entry(b"up", 0.0))
        for key in "abc":
            await lower.put(key, Entry(b"low", 0.0))
        return [(key, entry.value, entry.level) async for key, entry in state.items()]

    found = play(Levels((Memory(), Slow())), work)
    assert found == [
        ("a", b"low", "Slow"), ("b", b"up", "Memory"), ("c", b"low", "Slow"), ("d", b"up", "Memory"),
    ]  # fmt: skip


def test_counts_of_levels_are_sums():
    async def work(state, bench):
        await state.put("k", Entry(b"v", 0.0))
        return state.counts, [level.counts["bytes"] for level in state.levels.values()]

    counts, sizes = play(Levels((Memory(), Memory())), work)
    assert isinstance(counts, Counter)
    assert counts["bytes"] == sum(sizes) == 2 * sizes[0]
