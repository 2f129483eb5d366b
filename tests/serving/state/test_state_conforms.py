"""Every storage that a spec can name conforms; a new one is found by itself."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import pytest
from redis_server import running_redis

from evalkit import fingerprint
from evalkit.serving import state
from evalkit.serving.state import Compressed, Levels, Memory, Redis, SQLite
from evalkit.testing import check_component, examples
from evalkit.testing.conformance.states import check_state

STORAGES = {type(storage).__name__: storage for storage in examples(state)}


@pytest.fixture(scope="module")
def server():
    with running_redis() as server:
        yield server


@pytest.fixture
def placed(tmp_path, request):
    """A function that lets a storage, and those in it, lie in a place of this test's own."""

    def place(storage):
        if isinstance(storage, SQLite):
            return replace(storage, path=str(tmp_path / "state.sqlite"))
        if isinstance(storage, Redis):
            return replace(storage, url=request.getfixturevalue("server").url, max_seconds=30.0)
        for field in fields(storage):
            value = getattr(storage, field.name)
            if isinstance(value, tuple):
                storage = replace(storage, **{field.name: tuple(map(place, value))})
            elif is_dataclass(value):
                storage = replace(storage, **{field.name: place(value)})
        return storage

    return place


def test_every_exported_storage_is_looked_at():
    assert set(STORAGES) == set(state.__all__)


@pytest.mark.parametrize("name", STORAGES)
def test_every_exported_storage_is_a_value(name):
    check_component(STORAGES[name])


@pytest.mark.parametrize("name", STORAGES)
def test_every_exported_storage_passes_the_suite(name, placed):
    check_state(placed(STORAGES[name]))


NESTED = [
    Levels((Memory(), Redis())),
    Levels((Memory(), SQLite(), Redis())),
    Levels((Redis(), SQLite())),
    Levels((Memory(),)),
    Compressed(Redis(), "zlib"),
    Compressed(Levels((Memory(), Compressed(SQLite(), "lzma", 0))), level=9),
]


@pytest.mark.parametrize("storage", NESTED, ids=str)
def test_storages_in_storages_pass_it_too(storage, placed):
    check_state(placed(storage))


def test_where_a_storage_lies_is_no_part_of_what_it_is():
    here = Levels((SQLite("here"), Redis("redis://127.0.0.1:1", prefix="here:")))
    there = Levels((SQLite("there"), Redis("redis://127.0.0.1:2", prefix="there:")))
    assert fingerprint.digest(here) == fingerprint.digest(there)
    assert fingerprint.digest(here) != fingerprint.digest(Levels(here.levels[::-1]))


@pytest.mark.parametrize("name", STORAGES)
def test_every_field_of_a_storage_is_documented(name):
    for field in fields(STORAGES[name]):
        assert f"    {field.name} : " in type(STORAGES[name]).__doc__
