"""Storages against a naive model: a list of entries in the order of their use."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import running_redis

from evalkit.serving.clock import VirtualClock
from evalkit.serving.state import Compressed, Levels, Memory, Redis, SQLite, memory, sqlite
from evalkit.serving.state.base import Entry
from evalkit.testing.conformance.states import Bench

BOUND = 3000
KEYS = st.sampled_from(["a", "b", "c", "d", "é", "f"])
TAGS = st.sampled_from(["x", "y", "z"])
TTLS = st.none() | st.sampled_from([0.0, 1.0, 2.5, 7.0])
VALUES = st.binary(max_size=40) | st.sampled_from([bytes(700), bytes(2400), bytes(2900)])

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, VALUES, TTLS, st.lists(TAGS, max_size=2).map(tuple)),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("hit"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("drop"), TAGS),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 1.0, 3.0])),
        st.tuples(st.just("clear")),
        st.tuples(st.just("items")),
    ),
    max_size=30,
)


@dataclass
class Model:
    """What every state should do, done the long way."""

    entry: int | None = None
    tag: int = 0
    kept: list[tuple[str, Entry]] = field(default_factory=list)  # the one used last is the last one

    def find(self, key):
        return next((entry for name, entry in self.kept if name == key), None)

    def size(self):
        texts = [
            (len(key.encode()), len(e.value), len(e.by), len(e.tags), sum(map(len, e.tags))) for key, e in self.kept
        ]
        return sum(key + value + by + self.entry + tags * self.tag + text for key, value, by, tags, text in texts)

    def remove(self, which):
        gone = [key for key, entry in self.kept if which(key, entry)]
        self.kept = [(key, entry) for key, entry in self.kept if key not in gone]
        return len(gone)

    def put(self, key, entry):
        self.remove(lambda name, _: name == key)
        alone = Model(self.entry, self.tag, [(key, entry)])
        if self.entry is not None and alone.size() > BOUND:
            return
        self.kept.append((key, entry))
        while self.entry is not None and self.size() > BOUND:
            del self.kept[0]

    def hit(self, key, now):
        if (entry := self.find(key)) is not None:
            self.remove(lambda name, _: name == key)
            self.kept.append((key, replace(entry, hits=entry.hits + 1, last_hit=now)))

    def get(self, key, now):
        entry = self.find(key)
        if entry is not None and not entry.alive(now):
            self.remove(lambda name, _: name == key)
            return None
        return entry


async def follow(state, model, operations, bench, exactly=True):
    """Do everything in both, and compare all that can be seen."""
    for name, *told in operations:
        now = bench.now()
        if name == "put":
            key, value, ttl, tags = told
            entry = Entry(value, now, ttl, tags, by="7")
            await state.put(key, entry)
            model.put(key, entry)
        elif name == "get":
            found = await state.get(*told)
            assert (found and replace(found, level="")) == model.get(*told, now)
        elif name == "hit":
            await state.hit(*told, now)
            model.hit(*told, now)
            await bench.settle()
        elif name == "delete":
            assert await state.delete(*told) == bool(model.remove(lambda key, _, k=told[0]: key == k))
        elif name == "drop":
            assert await state.drop(*told) == model.remove(lambda _, entry, t=told[0]: t in entry.tags)
        elif name == "clear":
            assert await state.clear() == model.remove(lambda *_: True)
        elif name == "pass":
            await bench.clock.sleep(*told)
        else:
            found = [(key, replace(entry, level="")) async for key, entry in state.items()]
            assert found == sorted((key, entry) for key, entry in model.kept if entry.alive(now))
        if exactly:
            assert state.counts["bytes"] == model.size() <= BOUND


def compare(storage, model, operations, exactly=True):
    clock = VirtualClock()
    bench = Bench(clock, start=50.0)
    state = storage.open("ab", bench)

    async def run():
        await state.clear()
        await follow(state, model, operations, bench, exactly)
        assert state.counts["errors"] == 0
        await state.close()

    clock.run(run())


@given(OPERATIONS)
@settings(max_examples=300)
def test_memory_is_the_model(operations):
    compare(Memory(BOUND), Model(memory.ENTRY, memory.TAG), operations)


@given(OPERATIONS)
@settings(max_examples=60)
def test_sqlite_is_the_model(operations):
    with tempfile.TemporaryDirectory() as folder:
        compare(SQLite(str(Path(folder) / "s"), BOUND), Model(sqlite.ENTRY, sqlite.TAG), operations)


@given(OPERATIONS)
@settings(max_examples=60)
def test_levels_and_compression_are_the_model_without_a_bound(operations):
    storage = Compressed(Levels((Memory(2000), Compressed(Memory(2500)), Memory())), level=1)
    compare(storage, Model(), operations, exactly=False)


@pytest.fixture(scope="module")
def server():
    with running_redis() as server:
        yield server


@given(OPERATIONS)
@settings(max_examples=40)
def test_redis_is_the_model_without_a_bound(server, operations):
    compare(Redis(server.url, max_seconds=30.0), Model(), operations, exactly=False)
