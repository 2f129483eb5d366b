"""A sweep that is killed anywhere, in the middle of writes too, goes on: the same results, nothing paid for twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from evalkit.store import DiskStore, rows
from evalkit.store.collect import collect
from evalkit.store.layout import read_entry
from evalkit.store.verify import verify

TESTS = Path(__file__).parents[1]
KILLS = 30


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with an undisturbed run and rounds of killed ones, and what was done to each round."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        "EVALKIT_THREADS": "3",
    }
    made = subprocess.run(
        [sys.executable, "-m", "kills", str(folder), str(KILLS), "5"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder, json.loads(made.stdout)["rounds"]


@pytest.fixture(scope="module")
def rounds(killed):
    folder, done = killed
    return [folder / str(i) for i in range(1, len(done) + 1)]


def calls(folder):
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]


def holds(folder):
    """Everything that a store holds but for the seconds that its work took."""
    store = DiskStore(folder / "store")
    actions = {name: read_entry(path) for name, path, _ in store.layout.actions()}
    return {
        "actions": {name: (entry.content, entry.origin, entry.op) for name, entry in actions.items()},
        "objects": {name: path.read_bytes() for name, path, _ in store.layout.objects()},
        "rows": dict(row for batch in rows.batches(store.journal) for row in batch),
    }


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_kills_came_at_moments_of_all_kinds(killed):
    done = [kill for found in killed[1] for kill in found]
    assert len(done) == KILLS
    places = Counter(kill["place"] for kill in done)
    assert places["at a moment"] >= 3
    assert len(places) >= 7
    assert max(kill["leftovers"] for kill in done) >= 1  # else none came in mid-write


def test_the_resumed_results_are_those_of_an_undisturbed_run_to_the_bit(killed, rounds):
    expected = killed[0] / "undisturbed"
    for folder in rounds:
        assert (folder / "digest").read_text() == (expected / "digest").read_text()
        for name in ("summary.csv", "summary.parquet", "per_query.parquet"):
            assert (folder / "results" / name).read_bytes() == (expected / "results" / name).read_bytes()


def test_after_a_kill_nothing_in_the_store_is_damaged(killed, rounds):
    looked = [kill["damaged"] for found in killed[1] for kill in found if "damaged" in kill]
    assert looked == [[]] * (KILLS // 2)
    assert [verify(DiskStore(folder / "store")).damaged for folder in rounds] == [[]] * len(rounds)


def test_gc_removes_what_the_kills_left_and_the_store_is_then_that_of_an_undisturbed_run(killed, rounds):
    expected, left = killed[0] / "undisturbed", 0
    names = {name for name in files_of(expected / "store") if not name.startswith("journal")}
    for folder in rounds:
        store = DiskStore(folder / "store")
        removed = collect(store, grace=0)
        assert (removed.actions, removed.rows) == (0, 0)
        left += removed.leftovers
        assert {name for name in files_of(store.folder) if not name.startswith("journal")} == names
        assert holds(folder) == holds(expected)
    assert left >= 1


def test_a_paid_call_that_was_acknowledged_is_never_made_again(killed, rounds):
    usual = Counter(name for what, name in calls(killed[0] / "undisturbed") if what == "asked")
    assert set(usual.values()) == {1}
    for folder in rounds:
        kept = set()
        for what, name in calls(folder):
            assert what == "kept" or name not in kept
            if what == "kept":
                kept.add(name)
        assert kept <= set(usual) == {name for _, name in calls(folder)}
