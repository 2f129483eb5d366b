"""Verifying finds every kind of damage, names it, and repairs by dropping it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from evalkit.errors import EvalkitError
from evalkit.store import DiskStore
from evalkit.store.rows import count
from evalkit.store.survey import survey
from evalkit.store.verify import verify
from evalkit.values import FORMAT, Vectors

ACTION = f"{1:032x}"


def artefact(store, action=ACTION):
    return store.layout.object(store.get(action)[0])


def flip(path, position, bit=0):
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1 << bit
    path.write_bytes(raw)


def test_a_whole_store_is_said_to_be_whole(full):
    found = verify(full)
    assert (found.artefacts, found.actions, found.rows, found.damaged) == (5, 5, 4, [])
    assert found.size == sum(path.stat().st_size for _, path, _ in full.layout.objects())


def test_an_empty_store_is_whole(store):
    assert verify(store).damaged == []
    assert not store.journal.path.exists()


def regions(path):
    """A byte of each part of an artefact: length, JSON, each array's first and last."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    return [0, 3, 7, 8, 30, start // 2, start - 12, start, (start + len(raw)) // 2, len(raw) - 1]


@pytest.mark.parametrize("region", range(10))
@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_in_any_part_of_an_artefact_is_found_and_repaired(full, region, bit):
    path = artefact(full)
    flip(path, regions(path)[region], bit)
    found = verify(full)
    if not found.damaged:  # the only bits that mean nothing
        assert full.load(path.stem).digest == path.stem
        return
    assert len(found.damaged) + found.other_formats == 2  # it, and the action that names it
    assert str(path) in found.damaged[0]
    assert len(verify(full, repair=True).repaired) == 2
    assert not path.exists()
    assert verify(full).damaged == []
    assert DiskStore(full.folder).get(ACTION) is None


@pytest.mark.parametrize("length", [0, 5, 8, 50, -1])
def test_a_truncated_artefact_is_found(full, length):
    path = artefact(full)
    path.write_bytes(path.read_bytes()[:length])
    assert [str(path) in line or path.stem in line for line in verify(full).damaged] == [True, True]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null", b"\xff\xfe", b"{}", f'{{"content": "ab", "format": {FORMAT}}}'.encode()]
)
def test_an_action_that_cannot_be_read_is_found_and_dropped(full, text):
    path = full.layout.action(ACTION)
    path.write_bytes(text)
    assert verify(full, repair=True).damaged == [f"{path}: not a whole action"]
    assert verify(full).damaged == []
    assert not path.exists()


def test_a_flipped_bit_anywhere_in_an_action_gives_no_other_result(full):
    path = full.layout.action(ACTION)
    whole, expected = path.read_bytes(), full.get(ACTION)
    for position in range(len(whole)):
        for bit in (0, 4):
            path.write_bytes(whole)
            flip(path, position, bit)
            assert full.get(ACTION) in (None, expected)


def test_an_action_whose_artefact_is_missing_is_found_and_dropped(full):
    content, _ = full.get(ACTION)
    full.layout.object(content).unlink()
    found = verify(full, repair=True)
    assert found.damaged == [f"{full.layout.action(ACTION)}: its artefact {content} is missing"]
    assert full.layout.action(ACTION).exists() is False


def test_files_of_another_format_are_told_of_and_are_no_damage(full):
    path = artefact(full)
    path.write_bytes(path.read_bytes().replace(f'"format":"{FORMAT}"'.encode(), b'"format":"1"'))
    action = full.layout.action(ACTION)
    action.write_bytes(action.read_bytes().replace(f'"format": {FORMAT}'.encode(), b'"format": 1'))
    found = verify(full, repair=True)
    assert (found.damaged, found.other_formats) == ([], 2)
    assert path.exists()
    assert full.get(ACTION) is None


def test_the_checksum_of_a_kind_that_this_process_does_not_know_is_checked_too(store):
    class Elsewhere(Vectors):
        pass

    path = store.layout.object(store.add(Elsewhere(np.ones((2, 2), np.float32))))
    del Elsewhere
    assert verify(store).artefacts == 1
    flip(path, -1)
    assert len(verify(store).damaged) == 2


# --- the journal


def change(store, how):
    store.journal.close()
    with closing(sqlite3.connect(store.journal.path)) as connection, connection:
        connection.execute("UPDATE journal SET entry = ? WHERE key = 'call 2'", [how(*connection.execute(
            "SELECT entry FROM journal WHERE key = 'call 2'").fetchone())])  # fmt: skip


@pytest.mark.parametrize(
    "how",
    [
        lambda text: text.replace("answer", "anzwer"),
        lambda text: text[:-3],
        lambda text: b"\xff" + text.encode()[1:],
        lambda text: text.replace("#", "$", 1)[:20],
        lambda text: "",
    ],
    ids=["another word", "truncated", "no text", "no checksum", "empty"],
)
def test_a_row_that_is_not_what_was_written_is_found_not_read_and_dropped(full, how, caplog):
    change(full, how)
    assert set(full.recall([f"call {i}" for i in range(4)])) == {"call 0", "call 1", "call 3"}
    assert "call 2 is unreadable" in caplog.text
    found = verify(full, repair=True)
    assert found.damaged == [f"{full.journal.path}: the entry of call 2 cannot be read"]
    assert (found.rows, count(full.journal)) == (3, 3)
    assert verify(full).damaged == []


def test_a_row_from_before_checksums_is_read(full):
    change(full, lambda text: '{"text": "old"}')
    assert full.recall(["call 2"]) == {"call 2": {"text": "old"}}
    assert verify(full).damaged == []


def test_of_a_damaged_database_the_rows_that_can_be_read_are_kept(store):
    rows = {f"{i:06d}": {"text": f"answer {i} " * 20} for i in range(3000)}
    store.record_all(rows)
    store.journal.close()
    path = store.journal.path
    raw = bytearray(path.read_bytes())
    pages = len(raw) // 4096
    for page in (pages // 3, pages // 2):
        raw[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
    path.write_bytes(raw)
    other = DiskStore(store.folder)
    assert survey(other).rows is None or verify(other).damaged
    found = verify(other, repair=True)
    assert len(found.damaged) == 1
    assert 2500 < found.rows < 3000
    kept = other.recall(list(rows))
    assert len(kept) == found.rows
    assert all(rows[key] == entry for key, entry in kept.items())
    assert verify(other).damaged == []
    assert [p.read_bytes() for p in store.folder.glob("*damaged*") if p.suffix != "-wal"] == [bytes(raw)]


def test_a_damaged_database_is_told_of_in_one_line(store):
    store.record_all({f"{i:06d}": {"text": "answer " * 50} for i in range(500)})
    store.journal.close()
    raw = bytearray(store.journal.path.read_bytes())
    raw[4096 * 2 :] = b"\xa5" * (len(raw) - 4096 * 2)
    store.journal.path.write_bytes(raw)
    with pytest.raises(EvalkitError, match="evalkit store verify --repair") as caught:
        DiskStore(store.folder).recall([f"{i:06d}" for i in range(500)])
    assert "\n" not in str(caught.value)
