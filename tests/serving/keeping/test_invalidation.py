from __future__ import annotations

import functools
from typing import Any

import pytest
from toys import keywords, small_dataset

import evalkit
from evalkit import Service
from evalkit.clock import run_async
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival, Cache
from evalkit.serving.keeping.dropped import Dropped
from evalkit.serving.keeping.invalidation import Invalidation
from evalkit.serving.keeping.kept import Found, lay, read, space_of
from evalkit.serving.running import Running
from evalkit.serving.state.base import Entry
from evalkit.serving.state.sqlite import SQLite
from evalkit.values import Answer, Answers

replay = functools.partial(evalkit.replay, keep=True)

POISON = "send your password to me"


@pytest.fixture
def service(tmp_path) -> Service:
    file = SQLite(path=str(tmp_path / "state.sqlite"))
    return Service(keywords(k=2), (Cache(storage=file), Cache("retrieve", storage=file)))


def ask(service: Service, store: Any, *texts: str, at: float = 0.0, **more: Any) -> Any:
    arrivals = [Arrival(text, at=at + i) for i, text in enumerate(texts)]
    return replay(service, small_dataset(), arrivals, cost={}, store=store, **more).per_request


def overwrite(service: Service, key: str, change: Any) -> None:
    """Change an entry where it lies, as whoever can write to the storage could."""
    cache = service.layers[0]

    async def work() -> None:
        serving: Any = Running.__new__(Running)
        serving.now = lambda: 50.0
        state = cache.storage.open(space_of(cache, service.fingerprint), serving)
        entry = await state.get(key)
        assert entry is not None
        await state.put(key, Entry(change(entry.value), entry.made, entry.ttl, entry.tags, entry.by))
        await state.close()

    run_async(work())


def poison(value: bytes) -> bytes:
    facts, _ = read(value) or ({}, ())
    return lay(facts, [Answer.table([Answer(POISON)])])


def is_answer(found: Found) -> bool:
    return isinstance(found.values[0], Answers)


def test_a_poisoned_entry_is_found_by_its_text_and_removed_and_the_log_says_why(service, store):
    ask(service, store, "red apples", "pears fall")
    hand = Invalidation(service, now=50)
    (entry,) = hand.find("Red  Apples", where=is_answer)
    overwrite(service, entry.key, poison)
    assert ask(service, store, "red apples", at=10)["answer"].tolist() == [POISON]
    (found,) = hand.find(POISON.upper())
    assert (found.about["question"], found.entry.tags) == ("red apples", ("d1", "d3"))
    assert hand.delete(found, "reported by a user") == 1
    assert hand.find(POISON) == []
    assert hand.delete(found.key, "again") == 0
    assert ask(service, store, "red apples", "pears fall", at=20)["cache[answer]"].tolist() == ["miss", "hit"]
    assert hand.log() == [Dropped(50, f"key {found.key}", "reported by a user", 1)]


def test_entries_are_dropped_by_a_document_that_they_rest_on(service, store):
    ask(service, store, "red apples", "pears fall", "plums")
    hand = Invalidation(service, now=50)
    resting = hand.find(document="d3")
    assert {found.about["question"] for found in resting} == {"red apples", "pears fall"}
    assert hand.drop("d3", "it was wrong") == len(resting) == 4  # answers and rankings
    assert ask(service, store, "red apples", "plums", at=60)["cache[answer]"].tolist() == ["miss", "hit"]
    assert hand.clear("a new start") > 0
    assert hand.find() == []
    assert [(gone.what, gone.why) for gone in hand.log()] == [
        *[("d3", "it was wrong")] * 2,
        *[("everything", "a new start")] * 2,
    ]


def test_entries_are_found_by_any_fact_of_theirs(service, store):
    replay(
        service,
        small_dataset(),
        [Arrival("red apples", tenant="a"), Arrival("red apples", tenant="b")],
        store=store,
        cost={},
    )
    found = Invalidation(service, now=50).find(where=lambda found: found.about["tenant"] == "b")
    assert len(found) == 2
    assert {f.about["tenant"] for f in found} == {"b"}


def test_what_ingestion_dropped_is_in_the_log_too(store, tmp_path):
    file = SQLite(path=str(tmp_path / "state.sqlite"))
    service = Service(keywords(k=2), (Cache(until="ingestion touches it", storage=file),))
    events = (Ingestion(5, (), ("d1",)), Ingestion(6, (), ("d4",)))
    ask(service, store, "red apples", "pears fall", events=events, warm=[Arrival("red")])
    arrivals = [Arrival("red apples"), Arrival("pears fall"), Arrival("plums", at=9)]
    replay(service, small_dataset(), arrivals, cost={}, store=store, events=events)
    log = Invalidation(service, now=50).log()
    assert [(dropped.at, dropped.what, dropped.why) for dropped in log] == [
        (5, "d1", "ingestion"),
        (6, "d4", "ingestion"),
    ]
    assert log[0].entries > 0
    assert log[1].entries == 0


def test_another_services_entries_are_others(service, store):
    ask(service, store, "red apples")
    other = Service(keywords(k=1), service.layers)
    assert Invalidation(service, now=50).find()
    assert Invalidation(other, now=50).find() == []
    assert Invalidation(other, now=50).clear("mine") == 0
    assert ask(service, store, "red apples", at=60)["cache[answer]"].tolist() == ["hit"]


@pytest.mark.parametrize(
    "damage", [lambda v: v[:-3], lambda v: v[: len(v) // 2], lambda v: b"", lambda v: b"\x01" * len(v)], ids=range(4)
)
def test_a_damaged_entry_is_a_miss_and_is_made_anew(service, store, damage):
    fresh = ask(service, store, "red apples")["answer"].tolist()
    (entry,) = Invalidation(service, now=50).find(where=is_answer)
    overwrite(service, entry.key, damage)
    found = ask(service, store, "red apples", "red apples", at=60)
    assert found["cache[answer]"].tolist() == ["miss", "hit"]
    assert found["answer"].tolist() == fresh * 2
