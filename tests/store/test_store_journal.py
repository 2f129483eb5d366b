"""The journal on this machine and on a share, and which of the two a folder is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from other_processes import environment

from evalkit.errors import EvalkitError
from evalkit.store import DiskStore, Journal, journal
from evalkit.store.mounts import kind_of

MOUNTS = """\
/dev/vda / ext4 rw 0 0
proc /proc proc rw 0 0
server:/home /mnt/team\\040share nfs4 rw,vers=4.2 0 0
tmpfs /mnt/team\\040share/scratch tmpfs rw 0 0
//server/x /mnt/x cifs rw 0 0
/dev/vdb /mnt/x xfs rw 0 0
""".splitlines(keepends=True)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "ext4"),
        ("/", "ext4"),
        ("/mnt/team share/store", "nfs4"),
        ("/mnt/team sharer", "ext4"),
        ("/mnt/team share/scratch/a/b", "tmpfs"),
        ("/mnt/x/store", "xfs"),
    ],
)
def test_the_deepest_mount_and_the_last_on_a_place_says_what_a_folder_lies_on(folder, kind):
    assert kind_of(Path(folder), MOUNTS) == kind


@pytest.fixture
def share(monkeypatch):
    monkeypatch.setattr(journal, "is_local", lambda folder: False)


def mode(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_new_journal_has_a_write_ahead_log_on_this_machine_alone(tmp_path, monkeypatch):
    for name, local, expected in (("here", True, "wal"), ("there", False, "delete")):
        monkeypatch.setattr(journal, "is_local", lambda folder, local=local: local)
        kept = Journal(tmp_path / name)
        kept.record_all({"k": {"text": "x"}})
        assert Path(f"{tmp_path / name}-wal").exists() is local
        kept.close()
        assert mode(tmp_path / name) == expected


def test_a_write_ahead_log_is_turned_off_on_a_share_and_never_on_again(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    first = Journal(path)
    first.record_all({"a": {"n": 1}})
    first.close()
    assert mode(path) == "wal"
    monkeypatch.setattr(journal, "is_local", lambda folder: False)
    there = Journal(path)
    assert there.recall(["a"]) == {"a": {"n": 1}}
    monkeypatch.setattr(journal, "is_local", lambda folder: True)
    here = Journal(path)
    here.record_all({"b": {"n": 2}})
    assert there.recall(["a", "b"]) == {"a": {"n": 1}, "b": {"n": 2}}
    assert not Path(f"{path}-wal").exists()


def test_a_log_that_cannot_be_turned_off_is_told_of_in_one_line(tmp_path, share):
    held = Journal(tmp_path / "journal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "is_local", lambda folder: True)
        held.record_all({"a": {"n": 1}})
    with pytest.raises(EvalkitError, match="network share") as caught:
        Journal(tmp_path / "journal").recall(["a"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("local", [True, False])
def test_processes_that_begin_one_journal_at_once_lose_no_row(tmp_path, local):
    code = """
import sys
from evalkit.store import DiskStore, journal
journal.is_local = lambda folder: sys.argv[3] == "True"
print("ready", flush=True)
sys.stdin.readline()
store = DiskStore(sys.argv[1])
for i in range(40):
    store.record(f"{sys.argv[2]}-{i}", {"i": i})
    store.record(f"shared-{i}", {"by": sys.argv[2]})
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name, str(local)],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in "abcd"
    ]  # fmt: skip
    assert [w.stdout.readline() for w in writers] == ["ready\n"] * 4
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [(w.communicate()[1], w.returncode) for w in writers] == [("", 0)] * 4
    store = DiskStore(tmp_path)
    assert len(store.recall([f"{name}-{i}" for name in "abcd" for i in range(40)])) == 160
    assert len(store.recall([f"shared-{i}" for i in range(40)])) == 40


def test_nothing_is_written_by_a_look_into_a_journal_that_is_not_there(store):
    assert store.recall(["k"]) == {}
    assert not store.journal.path.exists()


def test_a_journal_that_is_held_for_too_long_is_told_of_in_one_line(store, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(journal.sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.05}))
    store.record("a", {})
    with closing(connect(store.journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EvalkitError, match="another process has held it") as caught:
            store.record("b", {})
    assert "\n" not in str(caught.value)
    store.record("b", {})
    assert set(store.recall(["a", "b"])) == {"a", "b"}
