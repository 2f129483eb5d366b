from __future__ import annotations

import gzip
import json
import lzma
import os
import zlib

import pytest

from evalkit import InputError
from evalkit.clock import WallClock, run_async
from evalkit.columns import Strings
from evalkit.serving.clock import VirtualClock
from evalkit.serving.state import Compressed, Memory, SQLite
from evalkit.serving.state.base import Entry
from evalkit.serving.state.packing import pack, unpack
from evalkit.testing import tiny_dataset
from evalkit.testing.conformance.states import Bench
from evalkit.values import Queries

METHODS = {"gzip": gzip.decompress, "zlib": zlib.decompress, "lzma": lzma.decompress}


def opened(storage):
    """A state in memory, and the state that it keeps its values in."""
    state = storage.open("ab", Bench(WallClock(), start=100.0))
    return state, state._inner


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [1, 9])
def test_texts_take_less_than_half_and_come_back_as_they_were(method, level):
    text = json.dumps([*tiny_dataset().documents.text] * 5).encode()

    async def work():
        state, inner = opened(Compressed(Memory(), method, level))
        await state.put("k", Entry(text, 0.0, tags=("t",), by="1"))
        kept = (await inner.get("k")).value
        return kept, await state.get("k"), state.counts

    kept, found, counts = run_async(work())
    assert METHODS[method](kept[1:]) == text  # any reader of the format can read it
    assert found == Entry(text, 0.0, tags=("t",), by="1")
    assert counts["bytes before"] == len(text)
    assert counts["bytes after"] == len(kept) < len(text) / 2
    assert counts["bytes"] < len(text) / 2 + 1500


def test_what_would_not_be_smaller_is_kept_as_it_is():
    async def work(value):
        state, inner = opened(Compressed())
        await state.put("k", Entry(value, 0.0))
        return len((await inner.get("k")).value), (await state.get("k")).value

    for value in (b"", b"v", os.urandom(5000)):
        assert run_async(work(value)) == (len(value) + 1, value)


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_value_is_a_miss_that_is_counted_and_goes(method):
    async def work():
        state, inner = opened(Compressed(Memory(), method))
        await state.put("k", Entry(b"text " * 1000, 0.0))
        await state.put("sound", Entry(b"text " * 1000, 0.0))
        entry = await inner.get("k")
        for damaged in (entry.value[:-9], entry.value[:1] + b"rubbish", b"", b"\x07" + entry.value[1:]):
            await inner.put("k", Entry(damaged, 0.0))
            assert [key async for key, _ in state.items()] == ["sound"]
            assert await state.get("k") is None
            assert await inner.get("k") is None
        return state.counts["errors"]

    assert run_async(work()) == 4


def test_the_same_value_is_the_same_bytes_whenever_it_is_put(monkeypatch):
    async def work():
        state, inner = opened(Compressed())
        await state.put("k", Entry(b"text " * 100, 0.0))
        return (await inner.get("k")).value

    first = run_async(work())
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert run_async(work()) == first


def test_the_work_takes_a_core_and_its_time():
    clock = VirtualClock(cores=1, cost=lambda stage, took: {"compress": 3.0, "decompress": 2.0}[stage])

    async def work():
        state = Compressed().open("ab", Bench(clock, start=100.0))
        await state.put("k", Entry(b"text " * 100, 0.0))
        put = clock.now()
        await state.get("k")
        await state.get("nothing")
        return put, clock.now()

    assert clock.run(work()) == (3.0, 5.0)


def test_values_of_the_graph_survive_it_in_a_file(tmp_path):
    from evalkit.columns import Ragged

    value = Queries(Strings.of(["q"] * 3), Strings.of(["what? " * 50] * 3), Ragged.of([()] * 3))

    async def work():
        state, _ = opened(Compressed(SQLite(str(tmp_path / "s"))))
        await state.put("k", Entry(pack(value), 0.0))
        found = await state.get("k")
        await state.close()
        return found

    found = unpack(run_async(work()).value)
    assert isinstance(found, Queries)
    assert list(found.text) == list(value.text)


@pytest.mark.parametrize("wrong", [{"method": "zip"}, {"level": 10}, {"level": -1}])
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match=r"^Compressed: "):
        Compressed(**wrong)
