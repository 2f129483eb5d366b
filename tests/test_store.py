"""One store, one journal: nothing half-written is ever read, nothing recorded is lost, damage is found and said."""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.store import CorruptArtefact, DiskStore
from evalkit.values import FORMAT, Prompts, Queries, Vectors


def queries(*texts):
    return Queries(Strings.of(f"q{i}" for i in range(len(texts))), Strings.of(texts))


VALUE = queries("What is the fare?", "Wer fährt?", "")
ACTION = "ab" * 16


def artefact(store, content):
    return store.folder / "objects" / content[:2] / f"{content}.safetensors"


def action_file(store, action=ACTION):
    return store.folder / "actions" / action[:2] / f"{action}.json"


def fresh(store):
    """The same store as another process sees it."""
    return DiskStore(store.folder)


def python(code, *arguments, **kwargs):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], **kwargs)


# --- what is put is got


def test_a_value_comes_back_whole_with_its_origin(store):
    content = store.put(ACTION, VALUE, "modelled", {"stage": "embed"})
    again = fresh(store)
    assert again.get(ACTION) == (content, "modelled")
    assert again.load(content).digest == VALUE.digest == content
    assert list(again.load(content).text) == list(VALUE.text)


def test_what_was_never_put_is_not_there(store):
    assert store.get(ACTION) is None
    with pytest.raises(CorruptArtefact, match="missing"):
        store.load("00" * 20)


@settings(max_examples=30)
@given(st.lists(st.lists(st.text(max_size=5), max_size=3), max_size=4))
def test_any_strings_and_lists_survive_the_disk(tmp_path_factory, rows):
    store = DiskStore(tmp_path_factory.getbasetemp() / "any")
    lists = Ragged.of(rows)
    content = store.add(Prompts(Strings.of("" for _ in rows), lists, lists, lists))
    assert [list(row) for row in fresh(store).load(content).passages] == rows


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8", "<u2", "<u4", "<u8"])
@pytest.mark.parametrize("shape", [(3, 2), (0, 4), (1,)])
def test_arrays_of_every_type_and_shape_survive_the_disk(store, dtype, shape):
    value = Vectors(np.ones(shape, dtype=dtype))
    loaded = fresh(store).load(store.add(value)).values
    assert (loaded.dtype, loaded.shape) == (value.values.dtype, shape)
    assert np.array_equal(loaded, value.values)


def test_loaded_arrays_are_views_of_the_file_and_cannot_be_written_to(store):
    content = store.add(Vectors(np.ones((4, 3), np.float32)))
    values = fresh(store).load(content).values
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 2
    base = values
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert base.mode == "r"


def test_two_actions_with_one_result_keep_it_once(store):
    first = store.put("aa", VALUE, "measured", {})
    second = store.put("bb", queries(*VALUE.text), "replayed", {})
    assert first == second
    assert len(list(store.folder.glob("objects/*/*"))) == 1
    assert (store.get("aa"), store.get("bb")) == ((first, "measured"), (first, "replayed"))


def test_a_store_is_its_folder_wherever_it_is_sent(store):
    content = store.put(ACTION, VALUE, "measured", {})
    store.record("k", {"text": "x"})
    sent = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert sent.get(ACTION) == (content, "measured")
    assert sent.recall(["k"]) == {"k": {"text": "x"}}


def test_no_file_is_a_pickle_and_nothing_is_left_beside_the_files(store):
    store.put(ACTION, VALUE, "measured", {})
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in files) == [".json", ".safetensors"]
    for path in files:
        with pytest.raises(Exception, match=r".*"), path.open("rb") as file:
            pickle.load(file)  # noqa: S301 - to see it refused


# --- damage


def test_a_truncated_artefact_is_found_at_any_length_said_and_made_anew(store, caplog):
    content = store.put(ACTION, VALUE, "measured", {})
    path = artefact(store, content)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 60, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        caplog.clear()
        other = fresh(store)
        assert other.get(ACTION) is None
        assert [(r.levelno, "made anew" in r.message) for r in caplog.records] == [(logging.WARNING, True)]
        other.put(ACTION, VALUE, "measured", {})
        assert fresh(store).load(content).digest == VALUE.digest


def test_a_flipped_bit_anywhere_is_found_or_harmless(store):
    content = store.put(ACTION, VALUE, "measured", {})
    path = artefact(store, content)
    whole = bytearray(path.read_bytes())
    for position in range(len(whole)):
        for bit in (0, 5):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            other = fresh(store)
            if other.get(ACTION) is not None:  # blanks that pad the header may be any blank
                assert other.load(content).digest == VALUE.digest
                assert list(other.load(content).text) == list(VALUE.text)
            other.put(ACTION, VALUE, "measured", {})
            assert fresh(store).get(ACTION) == (content, "measured")


def test_damage_is_found_where_an_artefact_is_loaded_without_being_asked_for_by_its_action(store):
    content = store.add(Vectors(np.ones((4, 3), np.float32)))
    path = artefact(store, content)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptArtefact):
        fresh(store).load(content)


def test_an_artefact_under_another_ones_name_is_found(store, caplog):
    content = store.put(ACTION, VALUE, "measured", {})
    other = store.add(queries("other"))
    artefact(store, content).write_bytes(artefact(store, other).read_bytes())
    assert fresh(store).get(ACTION) is None
    assert "does not match its name" in caplog.text


def test_an_artefact_of_an_older_format_is_made_anew(store, caplog):
    content = store.put(ACTION, VALUE, "measured", {})
    path = artefact(store, content)
    raw = path.read_bytes()
    assert raw.count(f'"format":"{FORMAT}"'.encode()) == 1
    path.write_bytes(raw.replace(f'"format":"{FORMAT}"'.encode(), b'"format":"0"'))
    assert fresh(store).get(ACTION) is None
    assert f"format 0, this version reads {FORMAT}" in caplog.text


def test_an_action_of_an_older_format_is_worked_out_anew(store):
    store.put(ACTION, VALUE, "measured", {})
    entry = json.loads(action_file(store).read_text())
    action_file(store).write_text(json.dumps(entry | {"format": 0}))
    assert store.get(ACTION) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '{"content": "x"}',
        f'{{"format": {FORMAT}, "content": "x", "origin": "guessed"}}',
        "\xff",
    ],
)
def test_an_unreadable_action_is_said_and_worked_out_anew(store, caplog, text):
    content = store.put(ACTION, VALUE, "measured", {})
    action_file(store).write_bytes(text.encode("latin-1"))
    assert store.get(ACTION) is None
    assert f"action {ACTION} is unreadable" in caplog.text
    store.put(ACTION, VALUE, "measured", {})
    assert store.get(ACTION) == (content, "measured")


@pytest.mark.parametrize("content", [None, 5, ["x"], "../../etc", ""])
def test_an_action_that_names_no_artefact_has_no_result(store, content):
    store.put(ACTION, VALUE, "measured", {})
    action_file(store).write_text(json.dumps({"format": FORMAT, "content": content, "origin": "measured"}))
    assert store.get(ACTION) is None


def test_an_artefact_that_was_deleted_is_made_anew_even_where_it_was_seen_before(store):
    content = store.put(ACTION, VALUE, "measured", {})
    artefact(store, content).unlink()
    assert store.get(ACTION) is None
    store.put(ACTION, VALUE, "measured", {})
    assert fresh(store).load(content).digest == content


def test_a_kind_that_this_process_does_not_know_has_no_result_and_stays(store):
    code = """
        import sys
        from dataclasses import dataclass
        import numpy as np
        from evalkit.store import DiskStore
        from evalkit.values import Value
        from evalkit.columns import Array
        @dataclass(frozen=True, eq=False)
        class Elsewhere(Value):
            data: Array
        print(DiskStore(sys.argv[1]).put(sys.argv[2], Elsewhere(np.ones(2)), "measured", {}))
    """
    with python(code, store.folder, ACTION, stdout=subprocess.PIPE, text=True) as process:
        content = process.stdout.read().strip()
    assert store.get(ACTION) is None
    assert artefact(store, content).exists()
    with pytest.raises(CorruptArtefact, match="unknown kind"):
        store.load(content)


@pytest.mark.parametrize("place", ["", "objects", "actions"])
def test_a_store_where_a_file_lies_is_refused_in_one_line(tmp_path, place):
    blocked = tmp_path / "store" / place if place else tmp_path / "store"
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("I am a file")
    with pytest.raises(InputError, match="cannot be written") as caught:
        DiskStore(tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert "EVALKIT_STORE" in str(caught.value)
    assert blocked.read_text() == "I am a file"


# --- several at once


def test_processes_that_put_the_same_results_at_once_all_succeed(store):
    code = """
        import sys, time
        import numpy as np
        from evalkit.store import DiskStore
        from evalkit.values import Vectors
        store = DiskStore(sys.argv[1])
        while time.time() < float(sys.argv[2]):
            pass
        for i in range(40):
            content = store.put(f"{i:04x}", Vectors(np.full((30_000, 16), i, np.float32)), "measured", {})
            assert store.get(f"{i:04x}") == (content, "measured")
            store.record(f"shared-{i}", {"by": sys.argv[3]})
            store.record(f"own-{sys.argv[3]}-{i}", {"i": i})
    """
    start = time.time() + 1.5
    writers = [python(code, store.folder, start, name, stderr=subprocess.PIPE, text=True) for name in "abc"]
    assert [(w.communicate()[1], w.returncode) for w in writers] == [("", 0)] * 3
    for i in range(40):
        content, _ = store.get(f"{i:04x}")
        assert store.load(content).values[0, 0] == i
    assert not list(store.folder.rglob("*.part"))
    own = store.recall([f"own-{name}-{i}" for name in "abc" for i in range(40)])
    assert len(own) == 120
    assert len(store.recall([f"shared-{i}" for i in range(40)])) == 40


def test_threads_record_and_recall_at_once(store):
    def work(i):
        store.record(f"k{i}", {"i": i})
        return store.recall([f"k{i}"])[f"k{i}"]["i"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(200))) == list(range(200))


# --- kills

WRITER = """
    import itertools, sys
    import numpy as np
    from evalkit.store import DiskStore
    from evalkit.values import Vectors
    store = DiskStore(sys.argv[1])
    for i in itertools.count(int(sys.argv[2])):
        store.put(f"{i:08x}", Vectors(np.full((20_000, 16), i, np.float32)), "measured", {})
        store.record(f"{i:08x}", {"i": i})
        print(i, flush=True)
"""


def test_a_kill_in_mid_write_leaves_nothing_half_written_in_sight_and_loses_nothing_recorded(store):
    """A writer is killed at random; what it had said was done is whole, and no reader sees anything else."""
    rng, done = random.Random(7), []
    for _ in range(5):
        with python(WRITER, store.folder, len(done), stdout=subprocess.PIPE, text=True) as writer:
            said = [writer.stdout.readline() for _ in range(rng.randint(1, 3))]
            time.sleep(rng.uniform(0, 0.02))
            os.kill(writer.pid, signal.SIGKILL)
            said += writer.stdout.readlines()
        done += [int(line) for line in said if line.endswith("\n")]
        reader = fresh(store)
        for path in store.folder.glob("objects/*/[!.]*"):
            assert reader.load(path.stem).digest == path.stem
        for path in store.folder.glob("actions/*/[!.]*"):
            content, _ = reader.get(path.stem)
            assert reader.load(content).values[0, 0] == int(path.stem, 16)
        recorded = reader.recall([f"{i:08x}" for i in done])
        assert {entry["i"] for entry in recorded.values()} == set(done)
    assert done == list(range(len(done)))
    assert len(done) >= 5


# --- the journal


def test_the_first_entry_of_a_key_stays(store):
    store.record("k", {"text": "first"})
    store.record("k", {"text": "second"})
    assert fresh(store).recall(["k", "unknown"]) == {"k": {"text": "first"}}


def test_any_number_of_keys_is_recalled_at_once(store):
    keys = [f"k{i}" for i in range(1_700)]
    for key in keys[::100]:
        store.record(key, {"key": key})
    assert set(store.recall(keys)) == set(keys[::100])
    assert store.recall([]) == {}


@settings(max_examples=30)
@given(st.dictionaries(st.text(), st.one_of(st.text(), st.lists(st.text()), st.integers(), st.none())))
def test_any_entry_comes_back_as_it_was(tmp_path_factory, entry):
    store = DiskStore(tmp_path_factory.getbasetemp() / "journal")
    key = json.dumps(entry, sort_keys=True)
    store.record(key, entry)
    assert store.recall([key]) == {key: entry}


def test_a_damaged_journal_is_set_aside_and_said_and_a_new_one_begun(tmp_path, caplog):
    junk = b"not a database at all" * 100
    (tmp_path / "journal.sqlite").write_bytes(junk)
    store = DiskStore(tmp_path)
    store.record("key", {"text": "answer"})
    assert store.recall(["key"]) == {"key": {"text": "answer"}}
    aside = [path for path in tmp_path.iterdir() if "damaged" in path.name]
    assert [path.read_bytes() for path in aside] == [junk]
    assert "is damaged" in caplog.text


def test_a_damaged_row_of_the_journal_is_as_good_as_none(tmp_path, caplog):
    store = DiskStore(tmp_path)
    store.record("good", {"text": "answer"})
    store.record("bad", {"text": "answer"})
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.execute("UPDATE journal SET entry = '{\"text' WHERE key = 'bad'")
    connection.close()
    assert store.recall(["good", "bad"]) == {"good": {"text": "answer"}}
    assert "unreadable" in caplog.text
