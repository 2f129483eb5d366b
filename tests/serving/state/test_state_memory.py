from __future__ import annotations

import asyncio
import tracemalloc
from random import Random

import pytest

from evalkit import InputError
from evalkit.clock import WallClock
from evalkit.serving.state import Memory
from evalkit.serving.state.base import Entry
from evalkit.serving.state.memory import ENTRY
from evalkit.testing.conformance.states import Bench


def opened(storage):
    return storage.open("ab", Bench(WallClock(), start=100.0))


def keys_of(state):
    async def read():
        return [key async for key, _ in state.items()]

    return read()


def test_a_million_entries_evict_within_the_byte_bound_the_oldest_first():
    bound = 2_000_000
    state = opened(Memory(bound))

    async def fill():
        largest = 0
        for i in range(1_000_000):
            await state.put(f"{i:07}", Entry(b"value", 0.0))
            largest = max(largest, state.counts["bytes"])
        return largest

    largest = asyncio.run(fill())
    room = bound // (ENTRY + 7 + 5)
    assert largest <= bound
    assert state.counts["evictions"] == 1_000_000 - room
    assert asyncio.run(keys_of(state)) == [f"{i:07}" for i in range(1_000_000 - room, 1_000_000)]


@pytest.mark.parametrize("tags", [0, 1, 4])
@pytest.mark.parametrize("shared", [False, True])
def test_what_python_allocates_is_at_most_what_is_counted(tags, shared):
    rng = Random(tags)

    async def fill(state):
        for i in range(20_000):
            number = i % 100 if shared else i
            names = tuple(f"{number}-{t}" for t in range(tags))
            entry = Entry(rng.randbytes(rng.randrange(64)), -i - 0.5, i + 1e6, names, f"{i}")
            await state.put(f"{i:032x}", entry)
            await state.hit(f"{i:032x}", i + 0.25)

    state = opened(Memory(10**9))
    tracemalloc.start()
    asyncio.run(fill(state))
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(asyncio.run(keys_of(state))) == 20_000
    assert 0.4 < allocated / state.counts["bytes"] < 1


def test_to_be_given_is_a_use_and_to_be_looked_at_is_none():
    async def use(hit):
        state = opened(Memory(3 * (ENTRY + 2)))
        for key in "abc":
            await state.put(key, Entry(b"v", 0.0))
        await state.get("a")
        if hit:
            await state.hit("a", 101.0)
        await state.put("d", Entry(b"v", 0.0))
        return await keys_of(state)

    assert asyncio.run(use(hit=False)) == ["b", "c", "d"]
    assert asyncio.run(use(hit=True)) == ["a", "c", "d"]


def test_an_entry_that_is_larger_than_the_bound_is_not_kept_and_nothing_goes_for_it():
    async def put():
        state = opened(Memory(1000))
        await state.put("small", Entry(b"v", 0.0))
        await state.put("large", Entry(bytes(1000), 0.0))
        assert await state.get("large") is None
        assert await state.get("small")
        await state.put("small", Entry(bytes(1000), 0.0))  # and what it was to replace is out of date
        return await state.get("small"), state.counts

    found, counts = asyncio.run(put())
    assert found is None
    assert (counts["bytes"], counts["evictions"], counts["puts"]) == (0, 0, 1)


def test_an_entry_counts_its_bytes_and_not_its_characters():
    async def put(key, entry):
        state = opened(Memory())
        await state.put(key, entry)
        return state.counts["bytes"]

    assert asyncio.run(put("é", Entry(b"12345", 0.0))) == ENTRY + 2 + 5
    one, two = (asyncio.run(put("k", Entry(b"", 0.0, tags=tags))) for tags in (("🙂",), ("🙂", "t")))
    assert one > ENTRY + 1 + 4
    assert two > one


@pytest.mark.parametrize("bound", [0, -1])
def test_no_room_at_all_is_refused(bound):
    with pytest.raises(InputError, match=rf"^Memory: max_bytes is {bound}; give at least 1$"):
        Memory(bound)


def test_every_opening_is_empty_even_of_the_same_space():
    async def put():
        storage, bench = Memory(), Bench(WallClock(), start=100.0)
        first = storage.open("ab", bench)
        await first.put("k", Entry(b"v", 0.0))
        return await storage.open("ab", bench).get("k")

    assert asyncio.run(put()) is None
