from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit import EvalkitError, InputError
from evalkit.clock import WallClock
from evalkit.serving.state import SQLite
from evalkit.serving.state.base import Entry
from evalkit.testing.conformance.states import Bench

WRITER = """
import asyncio, hashlib, sys
from evalkit.clock import WallClock
from evalkit.serving.state import SQLite
from evalkit.serving.state.base import Entry
from evalkit.testing.conformance.states import Bench

async def main(path, name, count):
    state = SQLite(path, max_seconds=60.0).open("ab", Bench(WallClock(), start=100.0))
    for i in range(count):
        value = name.encode() + b"%d" % i + bytes(i % 7 * 3000)
        entry = Entry(hashlib.sha256(value).digest() + value, 0.0, tags=(name, f"t{i % 3}"))
        await state.put(f"{name} {i % 500}", entry)
        if i % 50 == 49:
            print(i, flush=True)
    assert state.counts["errors"] == 0, state.counts
    await state.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def opened(storage, space="ab"):
    return storage.open(space, Bench(WallClock(), start=100.0))


def writer(path, name, count):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE)


async def all_of(state):
    return [(key, entry) async for key, entry in state.items()]


def read(path, space="ab"):
    async def run():
        state = opened(SQLite(str(path)), space)
        found = await all_of(state)
        await state.close()
        return found

    return asyncio.run(run())


def whole(entry):
    return entry.value[:32] == hashlib.sha256(entry.value[32:]).digest()


def test_what_was_put_outlives_the_process_that_put_it(tmp_path):
    with writer(tmp_path / "s", "one", 100) as process:
        process.communicate(timeout=60)
        assert process.returncode == 0
    found = read(tmp_path / "s")
    assert [key for key, _ in found] == sorted(f"one {i}" for i in range(100))
    assert all(whole(entry) and entry.tags[0] == "one" for _, entry in found)


@pytest.mark.parametrize("after", [0.0, 0.013, 0.04])
def test_a_process_that_is_killed_leaves_whole_entries_and_its_file_is_used_on(tmp_path, after):
    path = tmp_path / "s"
    with writer(path, "one", 10**6) as process:
        told = int(process.stdout.readline())
        time.sleep(after)  # so that the kill comes somewhere in a put
        os.kill(process.pid, signal.SIGKILL)
    found = read(path)
    assert len(found) > told
    assert all(whole(entry) for _, entry in found)

    async def go_on():
        state = opened(SQLite(str(path)))
        await state.put("new", Entry(b"v", 0.0, tags=("one",)))
        counted = state.counts["bytes"]
        dropped = await state.drop("one")
        left = state.counts["bytes"]
        await state.close()
        return counted, dropped, left

    counted, dropped, left = asyncio.run(go_on())
    assert dropped == len(found) + 1
    assert counted > 0
    assert left == 0
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute(
            "SELECT (SELECT count(*) FROM contents) + (SELECT count(*) FROM tags)"
        ).fetchone() == (0,)
    database.close()


def test_processes_that_begin_at_once_share_a_file_and_lose_nothing(tmp_path):
    names = ["one", "two", "three"]
    processes = [writer(tmp_path / "s", name, 150) for name in names]
    for process in processes:
        with process:
            process.communicate(timeout=120)
            assert process.returncode == 0
    found = read(tmp_path / "s")
    assert [key for key, _ in found] == sorted(f"{name} {i}" for name in names for i in range(150))
    assert all(whole(entry) for _, entry in found)


def test_states_that_share_a_file_share_its_bound_and_its_order_of_use(tmp_path):
    async def run():
        storage = SQLite(str(tmp_path / "s"), max_bytes=3 * (384 + 2))
        one, two = opened(storage), opened(storage)
        for state, key in ((one, "a"), (two, "b"), (one, "c")):
            await state.put(key, Entry(b"v", 0.0))
        await two.hit("a", 1.0)
        await two.put("d", Entry(b"v", 0.0))
        found = [key for key, _ in await all_of(one)]
        await one.close()
        await two.close()
        return found, two.counts["evictions"]

    assert asyncio.run(run()) == (["a", "c", "d"], 1)


def test_the_file_of_small_entries_is_no_larger_than_its_bound_allows(tmp_path):
    bound = 2_000_000

    async def fill():
        state = opened(SQLite(str(tmp_path / "s"), max_bytes=bound))
        for i in range(6000):
            await state.put(f"{i:032x}", Entry(bytes(100), 0.0, tags=(f"document {i % 50}", f"other {i}")))
        assert state.counts["evictions"] > 3000
        assert state.counts["bytes"] <= bound
        await state.close()

    asyncio.run(fill())
    assert 0.3 * bound < (tmp_path / "s").stat().st_size < bound


def test_a_hit_does_not_write_the_value_again(tmp_path):
    async def run():
        state = opened(SQLite(str(tmp_path / "s")))
        await state.put("k", Entry(bytes(500_000), 0.0))
        before = (tmp_path / "s-wal").stat().st_size
        for i in range(5):
            await state.hit("k", float(i))
        grown = (tmp_path / "s-wal").stat().st_size - before
        await state.close()
        return grown

    assert asyncio.run(run()) < 100_000


def test_a_relative_path_starts_at_the_projects_root_and_nothing_is_opened_before_it_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_ROOT", str(tmp_path))

    async def run():
        state = opened(SQLite("deep/down/s"))
        assert not list(tmp_path.iterdir())
        await state.close()
        assert not list(tmp_path.iterdir())
        await state.put("k", Entry(b"v", 0.0))
        await state.close()

    asyncio.run(run())
    assert [key for key, _ in read(tmp_path / "deep" / "down" / "s")] == ["k"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"not a database, but long enough to be looked at" * 30, "cannot be opened (file is not a database)"),
        ("CREATE TABLE theirs (a)", "holds something else than states"),
        ("CREATE TABLE theirs (a); PRAGMA application_id = 1702259571", "was written by another version of evalkit"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_stays_as_it_is(tmp_path, content, what):
    path = tmp_path / "s"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        database = sqlite3.connect(path)
        database.executescript(content)
        database.close()
    before = path.read_bytes()
    with pytest.raises(EvalkitError) as told:
        asyncio.run(opened(SQLite(str(path))).get("k"))
    assert str(told.value) == f"SQLite: {path} {what}; name another path"
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["s"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(EvalkitError, match=r"^SQLite: .* cannot be opened \(.*\); name another path$"):
        asyncio.run(opened(SQLite(str(tmp_path))).get("k"))


def test_while_another_process_holds_the_file_nothing_is_put_and_what_is_there_is_read(tmp_path, caplog):
    async def run():
        state = opened(SQLite(str(tmp_path / "s"), max_seconds=0.05))
        await state.put("k", Entry(b"v", 0.0))
        other = sqlite3.connect(tmp_path / "s", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        await state.put("new", Entry(b"w", 0.0))
        await state.hit("k", 1.0)
        assert not await state.delete("k")
        seen = await state.get("k"), state.counts["errors"], state.counts["puts"]
        other.execute("ROLLBACK")
        other.close()
        await state.put("new", Entry(b"x", 0.0))
        found = await all_of(state)
        await state.close()
        return seen, found

    seen, found = asyncio.run(run())
    assert seen == (Entry(b"v", 0.0), 3, 1)
    assert found == [("k", Entry(b"v", 0.0)), ("new", Entry(b"x", 0.0))]
    assert len(caplog.records) == 1


def test_a_file_that_is_damaged_meanwhile_is_as_good_as_empty(tmp_path):
    async def run():
        state = opened(SQLite(str(tmp_path / "s")))
        for i in range(300):
            await state.put(f"{i}", Entry(bytes(500), 0.0))
        await state.close()
        data = bytearray((tmp_path / "s").read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        await state.get("0")  # open again
        (tmp_path / "s").write_bytes(data)
        found = [await state.get(f"{i}") for i in range(300)]
        await state.put("k", Entry(b"v", 0.0))
        await state.close()
        return found, state.counts["errors"]

    found, errors = asyncio.run(run())
    assert found.count(None) > 250
    assert errors > 250


@pytest.mark.parametrize(
    "wrong", [{"path": ""}, {"path": "a\0b"}, {"max_bytes": 0}, {"max_seconds": -1.0}, {"max_seconds": float("nan")}]
)
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match=r"^SQLite: "):
        SQLite(**wrong)


def test_entries_of_another_calendar_are_not_given_and_not_lost(tmp_path):
    """A replay in virtual time next to a service in real time, in one file and one space."""

    async def run():
        storage = SQLite(str(tmp_path / "s"))
        real, virtual = storage.open("ab", Bench(WallClock(), 1.7e9)), storage.open("ab", Bench(WallClock()))
        await real.put("k", Entry(b"v", 1.7e9, 60.0))
        assert await virtual.get("k") is None
        found = await real.get("k")
        await real.close()
        await virtual.close()
        return found

    assert asyncio.run(run()) == Entry(b"v", 1.7e9, 60.0)


def test_a_poisoned_entry_is_found_by_another_process_and_removed(tmp_path):
    with writer(tmp_path / "s", "one", 20) as process:
        process.communicate(timeout=60)

    async def clean():
        state = opened(SQLite(str(tmp_path / "s")))
        bad = [key for key, entry in await all_of(state) if b"one13" in entry.value]
        assert [await state.delete(key) for key in bad] == [True]
        await state.close()

    asyncio.run(clean())
    assert {key for key, _ in read(tmp_path / "s")} == {f"one {i}" for i in range(20) if i != 13}


def test_it_is_part_of_no_path_where_the_folder_is_made(tmp_path):
    assert Path(SQLite().path) == Path(".evalkit/state.sqlite")
    assert SQLite(str(tmp_path / "x")).identity() == {"path": None}
    assert not (tmp_path / "x").exists()
