"""Collecting takes what was used least recently, and nothing from a run that goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from toys import dense, hybrid, pieces

from evalkit import Sweep, run
from evalkit.errors import EvalkitError
from evalkit.stages import BM25, Whole
from evalkit.store import DiskStore, files
from evalkit.store.collect import collect
from evalkit.store.rows import count, size
from evalkit.store.verify import verify
from evalkit.values import FORMAT, Vectors

DAY = 24 * 3600
SWEEP = Sweep(dense(), {"chunk": [Whole(), pieces()], "retrieve": [BM25(), hybrid().retrieve], "retrieve.k": [2, 5]})
METRICS = ["MRR@10", "TokenF1"]


def vectors(i):
    return Vectors(np.full((16, 16), i, np.float32))


def put(store, i, days=0.0):
    """A result of a kilobyte, last used some days ago."""
    content = store.put(f"{i:032x}", vectors(i), "measured", {"op": "Toy"})
    age(store, days, f"{i:032x}", content)
    return content


def age(store, days, *names):
    for _, path, status in [*store.layout.actions(), *store.layout.objects()]:
        if not names or path.stem in names:
            os.utime(path, (status.st_mtime - days * DAY,) * 2)


def left(store):
    return {int(name, 16) for name, _, _ in store.layout.actions() if len(name) == 32}


def total(store):
    return sum(status.st_size for _, _, status in [*store.layout.actions(), *store.layout.objects()])


def test_what_was_used_least_recently_goes_first_and_no_more_than_needs_be(store):
    for i, days in enumerate([5, 3, 9, 2, 7]):
        put(store, i, days)
    before = total(store)
    done = collect(store, before - 1)
    assert left(store) == {0, 1, 3, 4}
    assert (done.actions, done.artefacts, done.left, done.freed) == (1, 1, total(store), before - total(store))
    collect(store, before // 2)
    assert left(store) == {1, 3}
    assert verify(store).damaged == []


def test_a_result_that_was_got_counts_as_used(store):
    for i in range(3):
        put(store, i, 5 + i)
    assert DiskStore(store.folder).get(f"{2:032x}")
    collect(store, 0)
    assert left(store) == {2}


def test_an_artefact_stays_as_long_as_any_action_needs_it(store):
    content = store.put("aa", vectors(1), "measured", {})
    store.put("bb", vectors(1), "measured", {})
    age(store, 9, "aa", content)
    collect(store, 0)
    assert store.get("bb") == (content, "measured")
    age(store, 9)
    collect(store, 0)
    assert total(store) == 0


def test_what_was_used_within_the_grace_stays_whatever_the_limit(store):
    put(store, 1, 0.9)
    put(store, 2, 1.1)
    collect(store, 0)
    assert left(store) == {1}
    collect(store, 0, grace=3600)
    assert left(store) == set()


def test_inputs_go_like_results_and_unneeded_artefacts_go_without_a_limit(store):
    needed = put(store, 1, 30)
    given = store.add(vectors(2))
    orphan = store.put("cc", vectors(3), "measured", {})
    store.layout.action("cc").unlink()
    collect(store)
    assert {name for name, _, _ in store.layout.objects()} == {needed, given, orphan}
    age(store, 2)
    collect(store)
    assert {name for name, _, _ in store.layout.objects()} == {needed, given}
    store.add(vectors(2))
    collect(store, 0)
    assert {name for name, _, _ in store.layout.objects()} == {given}


def test_unfinished_files_go_after_an_hour(store):
    for part, name in (("objects", ".a.part"), ("actions", ".b.part")):
        (store.folder / part / "ab").mkdir()
        (store.folder / part / "ab" / name).write_bytes(b"half")
    assert collect(store).leftovers == 0
    os.utime(store.folder / "objects" / "ab" / ".a.part", (time.time() - 3700,) * 2)
    assert collect(store).leftovers == 1
    assert [path.name for path, _ in store.layout.leftovers()] == [".b.part"]


def test_files_of_older_formats_go_those_of_newer_ones_and_foreign_ones_stay(store):
    for i, version in ((1, FORMAT - 1), (2, FORMAT + 1), (3, FORMAT)):
        path = store.layout.object(put(store, i))
        path.write_bytes(path.read_bytes().replace(f'"format":"{FORMAT}"'.encode(), f'"format":"{version}"'.encode()))
        path = store.layout.action(f"{i:032x}")
        path.write_bytes(path.read_bytes().replace(f'"format": {FORMAT}'.encode(), f'"format": {version}'.encode()))
    (store.folder / "objects" / "README").write_text("mine")
    collect(store)
    assert left(store) == {1, 2, 3}  # an older evalkit may be at work on this store today
    age(store, 2)
    collect(store)
    assert left(store) == {2, 3}
    assert len(list(store.layout.objects())) == 2
    assert (store.folder / "objects" / "README").exists()


def test_actions_that_cannot_be_read_or_name_nothing_go(store):
    store.layout.object(put(store, 1)).unlink()
    put(store, 2)
    store.layout.action(f"{2:032x}").write_text("{")
    put(store, 3)
    assert collect(store).actions == 2
    assert left(store) == {3}


# --- the journal


def test_the_journal_stays_unless_asked_and_then_its_oldest_rows_go(store):
    store.record_all({f"{i:04d}": {"text": "x" * 400} for i in range(1000)})
    put(store, 1, 3)
    collect(store, 0)
    assert count(store.journal) == 1000
    before = size(store.journal)
    done = collect(store, before // 2, journal=True)
    assert 0 < done.rows == 1000 - count(store.journal) < 700
    assert size(store.journal) <= before // 2
    assert set(store.recall(["0000", "0999"])) == {"0999"}
    assert verify(store).damaged == []
    collect(store, 0, journal=True)
    assert count(store.journal) == 0


# --- clocks


def test_a_last_use_in_the_future_counts_as_now_and_ages_from_now_on(store):
    put(store, 1, -400)  # written while the clock was a year ahead
    put(store, 2, 3)
    collect(store, 0)
    assert left(store) == {1}
    assert abs(store.layout.action(f"{1:032x}").stat().st_mtime - time.time()) < 60
    age(store, 2)
    collect(store, 0)
    assert left(store) == set()


@pytest.mark.parametrize("days", [-400, 400, 20_000])
def test_a_result_is_got_whatever_its_date_and_is_dated_now(store, days):
    content = put(store, 1, days)
    assert DiskStore(store.folder).get(f"{1:032x}") == (content, "measured")
    for path in (store.layout.action(f"{1:032x}"), store.layout.object(content)):
        assert abs(path.stat().st_mtime - time.time()) < 60


def test_a_result_is_dated_at_most_once_a_minute(store):
    put(store, 1)
    path = store.layout.action(f"{1:032x}")
    os.utime(path, (time.time() - 30,) * 2)
    before = path.stat().st_mtime_ns
    assert store.get(f"{1:032x}")
    assert path.stat().st_mtime_ns == before


# --- runs that go on


class Collecting(DiskStore):
    """A store that somebody empties, as far as may be, before and after every step."""

    def _step(self, work, *arguments):
        collect(DiskStore(self.folder), 0)
        try:
            return work(*arguments)
        finally:
            collect(DiskStore(self.folder), 0)

    def get(self, *arguments):
        return self._step(super().get, *arguments)

    def put(self, *arguments):
        return self._step(super().put, *arguments)

    def load(self, *arguments):
        return self._step(super().load, *arguments)


def test_a_sweep_survives_collection_at_every_step_with_the_same_results(tiny, store, monkeypatch):
    monkeypatch.setenv("EVALKIT_THREADS", "1")  # collections in turn, so fewer of them
    expected = run(SWEEP, tiny, METRICS, store=store).digest
    age(store, 9)
    for kept in ("actions", "objects"):  # half of it was used of late
        for path in sorted((store.folder / kept).glob("*/*"))[::3]:
            os.utime(path)
    assert run(SWEEP, tiny, METRICS, store=Collecting(store.folder)).digest == expected
    assert verify(store).damaged == []


def test_a_file_used_between_look_and_removal_is_put_back(store, monkeypatch):
    content = put(store, 1, 9)
    rename = os.rename

    def used_first(path, aside):
        if Path(path).suffix == ".safetensors":
            os.utime(path)
        rename(path, aside)

    monkeypatch.setattr(files.os, "rename", used_first)
    done = collect(store, 0)
    assert done.artefacts == 0
    assert store.load(content).digest == content


def test_a_file_taken_away_between_look_and_use_is_written_again(store, monkeypatch):
    content = put(store, 1, 9)
    utime = os.utime

    def gone_first(path, *times):
        Path(path).unlink(missing_ok=True)
        monkeypatch.setattr(files.os, "utime", utime)
        utime(path, *times)

    monkeypatch.setattr(files.os, "utime", gone_first)
    assert store.put("bb", vectors(1), "measured", {}) == content
    assert DiskStore(store.folder).load(content).digest == content


def test_what_a_long_run_uses_is_marked_again_though_nobody_asks_for_it(store):
    content = put(store, 1)
    age(store, 2)
    store._marked -= 7 * 3600
    store.record("call", {"text": "another stage works on"})
    collect(store, 0)
    assert store.layout.object(content).exists()


def test_a_store_that_cannot_be_changed_is_told_of_in_one_line(store, monkeypatch):
    put(store, 1, 9)

    def refuse(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "rename", refuse)
    with pytest.raises(EvalkitError, match="Input/output error") as caught:
        collect(store, 0)
    assert "\n" not in str(caught.value)
