"""What goes into a cassette: refreshes, kills, secrets, and all that may keep it from being written."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from paid import BATCHES, Paid
from recordings import (
    METRICS,
    Counting,
    Leaking,
    do,
    forget_calls,
    part_of,
    texts,
    texts_of,
)
from toys import CALLS, KILL_AFTER, calls, dense

from evalkit import EvalkitError, run
from evalkit.errors import InputError
from evalkit.evaluate.calling.recording import Recording
from evalkit.llm.cassettes import Cassette, faults_of, header_of
from evalkit.llm.cassettes import calls as recorded
from evalkit.store import DiskStore

TESTS = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    (tmp_path / "batches").mkdir()
    monkeypatch.setenv(BATCHES, str(tmp_path / "batches"))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "demo.jsonl.gz"


@pytest.fixture
def fresh(tmp_path):
    """A function that returns a store without anything in it."""
    stores = iter(range(100))
    return lambda: DiskStore(tmp_path / f"fresh-{next(stores)}")


def test_refresh_calls_for_everything_anew_and_replaces_it(tiny, store, file):
    do(store, file, "record", Counting())
    do(store, file, "record", Paid())
    before = texts_of(file, "Counting"), texts_of(file, "Paid")
    forget_calls()
    _, recording = do(store, file, "refresh", Counting(), part_of(tiny, 5))
    assert recording.called == len(calls()) == 5
    after = texts_of(file, "Counting"), texts_of(file, "Paid")
    assert after[1] == before[1]  # not asked for: it stays
    assert set(after[0]) == set(before[0])
    assert sum(after[0][question] != before[0][question] for question in after[0]) == 5
    do(store, file, "refresh", Counting(), part_of(tiny, 5))
    assert len(calls()) == 10


def test_a_refresh_of_a_file_that_was_put_back_calls_anew_too(tiny, store, file):
    do(store, file, "record", Counting())
    old = file.read_bytes()
    do(store, file, "refresh", Counting())
    first = texts(file)
    file.write_bytes(old)
    do(store, file, "refresh", Counting())
    assert len(calls()) == 3 * len(tiny.queries)
    assert texts(file) != first
    file.unlink()
    do(store, file, "refresh", Counting())
    file.unlink()
    do(store, file, "refresh", Counting())
    assert len(calls()) == 5 * len(tiny.queries)


def test_a_refresh_that_was_cut_short_goes_on_where_it_was(tiny, store, file):
    do(store, file, "record", Counting())
    forget_calls()

    class Enough(Exception):
        pass

    def cut_short():
        with Recording(store, file, "refresh") as recording:
            run(dense(generate=Counting()), part_of(tiny, 5), METRICS, store=recording)
            raise Enough

    with pytest.raises(Enough):
        cut_short()
    assert header_of(file).refreshing
    made = {question: text for question, text in texts(file).items() if question in calls()}
    do(store, file, "refresh", Counting())
    assert len(calls()) == len(tiny.queries)  # the five were not asked again
    assert made.items() <= texts(file).items()
    assert not header_of(file).refreshing


def test_a_refresh_whose_run_ended_early_is_gone_on_with_though_nothing_was_raised(tiny, store, file):
    do(store, file, "record", Counting())
    forget_calls()
    with Recording(store, file, "refresh") as recording:
        run(dense(generate=Counting()), part_of(tiny, 5), METRICS, store=recording)
        recording.finished = False
    do(store, file, "refresh", Counting())
    assert len(calls()) == len(tiny.queries)


def test_a_refresh_that_gets_no_answer_keeps_the_old_one(tiny, store, file, monkeypatch):
    do(store, file, "record")
    before = texts(file)
    monkeypatch.setattr(Paid, "usage", lambda self, prompt: (_ for _ in ()).throw(RuntimeError("down")))
    with pytest.raises(EvalkitError, match="down"):
        do(store, file, "refresh")
    assert texts(file) == before


def test_what_was_called_for_is_written_though_the_run_fails(tiny, store, file):
    class Broken(Exception):
        pass

    def fails():
        with Recording(store, file) as recording:
            run(dense(generate=Paid()), tiny, METRICS, store=recording)
            raise Broken

    with pytest.raises(Broken):
        fails()
    assert header_of(file).calls == len(tiny.queries)
    assert faults_of(file) == []


_KILLED = """
import sys
from toys import dense
from paid import Paid
from evalkit import run
from evalkit.evaluate.calling import caller as calls
from evalkit.evaluate.calling.recording import Recording
from evalkit.store import DiskStore
from evalkit.testing import tiny_dataset

calls.AT_ONCE = 2  # so that some answers are kept before the last call begins
with Recording(DiskStore(sys.argv[1]), sys.argv[2], sys.argv[3]) as recording:
    results = run(dense(generate=Paid(pause=0.05)), tiny_dataset(), ["TokenF1", "DollarsPerQuery"], store=recording)
print(results.digest, recording.answered, recording.called, recording.journalled)
"""


def in_a_process(store, file, mode, **environment):
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    return subprocess.run(
        [sys.executable, "-c", _KILLED, str(store.folder), str(file), mode],
        env={**os.environ, "PYTHONPATH": paths, "EVALKIT_THREADS": "2", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["record", "refresh"])
def test_a_kill_loses_no_call_and_the_next_run_writes_it_into_the_cassette(tiny, store, file, mode):
    if mode == "refresh":
        do(store, file, "record", Paid(pause=0.05))
        forget_calls()
    killed = in_a_process(store, file, mode, **{KILL_AFTER: "8"})
    assert killed.returncode == -9, killed.stderr
    begun = calls()
    assert len(begun) == 8
    done = in_a_process(store, file, mode)
    assert done.returncode == 0, done.stderr
    _, answered, called, journalled = done.stdout.split()
    assert int(answered) == 0
    assert int(journalled) + int(called) == len(tiny.queries) == header_of(file).calls
    assert int(journalled) >= 6  # two at a time: what was answered before the kill
    assert sorted(calls()[len(begun) :]) == sorted(set(calls()[len(begun) :]))
    assert len(calls()) == len(begun) + int(called)


def test_two_processes_with_other_hash_seeds_replay_the_same_to_the_bit(store, file, fresh):
    first = in_a_process(store, file, "record")
    assert first.returncode == 0, first.stderr
    before, digests = file.read_bytes(), set()
    forget_calls()
    for seed in ("1", "4711"):
        again = in_a_process(fresh(), file, "replay-or-fail", PYTHONHASHSEED=seed)
        digest, answered, called, _ = again.stdout.split()
        digests.add(digest)
        assert (answered, called) == ("8", "0")
    assert len(digests) == 1
    assert (calls(), file.read_bytes()) == ([], before)


def test_a_prompt_with_a_secret_is_refused_before_it_is_paid_for(tiny, store, file, monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", str(tiny.queries.text[0])[-20:])
    with pytest.raises(InputError, match=r"not recorded: prompt\.question holds the value of MY_SERVICE_TOKEN"):
        do(store, file, "record", data=part_of(tiny, 1))
    assert calls() == []
    assert not file.exists()


def test_an_answer_with_a_secret_is_not_written_and_the_file_stays_as_it_was(tiny, store, file):
    do(store, file, "record", data=part_of(tiny, 1))
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"not written: line \d+ .*, text: holds an Anthropic key; take it out"):
        do(store, file, "record", Leaking())
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".part"] == []


def test_a_file_that_cannot_be_written_does_not_hide_what_ended_the_run(tiny, store, file, caplog, monkeypatch):
    recording = Recording(store, file)
    run(dense(generate=Paid()), tiny, METRICS, store=recording)
    monkeypatch.setenv("MY_SERVICE_TOKEN", "claude-opus-5")

    def fails():
        with recording:
            raise KeyboardInterrupt

    with caplog.at_level(logging.ERROR), pytest.raises(KeyboardInterrupt):
        fails()
    assert "holds the value of MY_SERVICE_TOKEN" in caplog.text


def test_nothing_new_leaves_the_file_alone(store, file):
    do(store, file, "record")
    before = file.stat().st_mtime_ns, file.stat().st_ino
    do(store, file, "record")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_two_that_record_into_one_file_both_have_their_calls_in_it(tiny, store, file, fresh):
    first, second = Recording(store, file), Recording(fresh(), file)
    run(dense(generate=Paid()), tiny, METRICS, store=first)
    run(dense(generate=Counting()), tiny, METRICS, store=second)
    first.close()
    second.close()
    second.close()
    assert header_of(file).calls == 2 * len(tiny.queries)
    assert faults_of(file) == []


@pytest.mark.parametrize(
    ("name", "mode", "told"),
    [
        ("x.json", "record", "a cassette's name ends in .jsonl.gz"),
        ("none.jsonl.gz", "replay", "no such cassette; record it first"),
        ("none.jsonl.gz", "replay-or-fail", "no such cassette; record it first"),
        ("x.jsonl.gz", "again", "cassette mode 'again': is none of record, replay, refresh, replay-or-fail"),
        ("damaged.jsonl.gz", "record", "is no cassette, or damaged from its start"),
        ("damaged.jsonl.gz", "refresh", "is no cassette, or damaged from its start"),
        ("file/x.jsonl.gz", "record", "cannot be written; name a file in a folder that can be"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_called_for(tmp_path, store, name, mode, told):
    (tmp_path / "damaged.jsonl.gz").write_text("nothing")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=told):
        Recording(store, tmp_path / name, mode)


def test_a_recording_stays_in_its_process_and_a_replay_may_go_to_workers(store, file):
    do(store, file, "record")
    with pytest.raises(InputError, match="is recorded by one process; leave out the cluster"):
        pickle.dumps(Recording(store, file, "record"))
    there = pickle.loads(pickle.dumps(Recording(store, file, "replay")))  # noqa: S301 - our own bytes
    keys = [one.key for one in recorded(file)]
    assert there.calls().recall(keys) == Cassette.open(file).recall(keys)
    assert repr(there) != repr(store)
