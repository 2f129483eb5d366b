"""A full disk, a disk that cannot be written, kills in mid-write, and two sweeps at once: real ones."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from other_processes import environment

from evalkit.errors import EvalkitError
from evalkit.store import DiskStore
from evalkit.store.verify import verify
from evalkit.values import Vectors

SWEEP = """
import evalkit as ek
from toys import *
from evalkit.errors import EvalkitError
from evalkit.store import DiskStore
from evalkit.store.collect import collect
from evalkit.store.verify import verify
from evalkit.testing import tiny_dataset
retrievers = [BM25(), hybrid().retrieve]
sweep = ek.Sweep(dense(), {"chunk": [Whole(), pieces()], "retrieve": retrievers, "retrieve.k": [2, 5]})
def run(folder, sweep=sweep):
    return ek.run(sweep, tiny_dataset(), ["MRR@10", "TokenF1"], store=DiskStore(folder))
"""


def script(code):
    return SWEEP + textwrap.dedent(code)


def test_a_sweep_on_a_full_disk_fails_in_one_line_and_goes_on_when_there_is_room(on_small_disk):
    out = on_small_disk(
        script("""
        expected = run(other)
        failed, size = [], 16
        while True:
            mount(f"remount,size={size}k")
            try:
                found = run(disk)
                if len(found.summary) == len(expected.summary):
                    break  # else variants are missing, those that met the full disk
            except EvalkitError as error:
                failed.append(str(error))
            assert not list(disk.rglob("*.part")), list(disk.rglob("*.part"))
            size += 80
            assert verify(DiskStore(disk)).damaged == [], verify(DiskStore(disk)).damaged
        assert found.digest == expected.digest
        assert verify(DiskStore(disk)).damaged == []
        print(len(failed), *failed, sep="\\n")
        """)
    ).splitlines()
    assert int(out[0]) == len(out) - 1  # a line each
    assert int(out[0]) >= 2
    assert all("space" in line or "full" in line or "disk I/O" in line for line in out[1:])
    assert all("EVALKIT_STORE" in line for line in out[1:])


def test_a_warm_sweep_runs_on_a_full_disk_and_room_can_be_made_there(on_small_disk):
    on_small_disk(
        script("""
        expected = run(disk).digest
        with (disk / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        again = run(disk)
        assert again.digest == expected
        assert again.manifest["plan"]["blocks from store"] == again.manifest["plan"]["blocks"]
        assert collect(DiskStore(disk), 0, grace=-100).actions > 10
        """)
    )


def test_a_sweep_reads_a_store_that_cannot_be_written_and_what_is_new_is_refused_in_one_line(on_small_disk):
    out = on_small_disk(
        script("""
        expected = run(disk)
        DiskStore(disk).record("call", {"text": "paid"})
        mount("remount,ro")
        again = run(disk)
        assert again.digest == expected.digest
        assert again.manifest["plan"]["blocks from store"] == again.manifest["plan"]["blocks"]
        assert verify(DiskStore(disk)).damaged == []
        for new in (
            lambda: run(disk, ek.Sweep(dense(), {"retrieve.k": [3]})),
            lambda: DiskStore(disk).record("new", {}),
            lambda: collect(DiskStore(disk), 0, grace=-100),
        ):
            try:
                new()
            except EvalkitError as error:
                print(error)
        assert DiskStore(disk).recall(["call", "new"]) == {"call": {"text": "paid"}}
        """)
    ).splitlines()
    assert len(out) == 3
    assert all("cannot be written" in line and "EVALKIT_STORE" in line for line in out)


def test_a_journal_left_by_a_killed_process_is_read_where_it_cannot_be_written(on_small_disk):
    on_small_disk("""
        import os, signal
        from evalkit.store import DiskStore
        if os.fork() == 0:
            store = DiskStore(disk)
            store.record("call", {"text": "paid"})
            os.kill(os.getpid(), signal.SIGKILL)
        os.wait()
        assert (disk / "journal.sqlite-wal").stat().st_size
        mount("remount,ro")
        assert DiskStore(disk).recall(["call"]) == {"call": {"text": "paid"}}
    """)


def test_a_write_that_stops_half_way_leaves_nothing_and_is_told_of_in_one_line(store):
    """The limit of a process's file size: a real write that fails in the middle, on any machine."""
    big, soft = Vectors(np.ones((1000, 100), np.float32)), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, soft[1]))
    try:
        with pytest.raises(EvalkitError, match="EVALKIT_STORE") as caught:
            store.put("ab", big, "measured", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert "\n" not in str(caught.value)
    assert not [path for path in store.folder.rglob("*") if path.is_file()]
    content = store.put("ab", big, "measured", {})
    assert DiskStore(store.folder).get("ab") == (content, "measured")


def test_two_sweeps_at_once_on_one_store_give_the_results_of_one(tmp_path):
    code = script("""
    import sys, time
    tiny_dataset()
    print("ready", flush=True)
    sys.stdin.readline()
    print(run(sys.argv[1]).digest)
    """)

    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / folder)],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    sweeps = [start(folder) for folder in ("shared", "shared", "alone")]
    assert [sweep.stdout.readline() for sweep in sweeps] == ["ready\n"] * 3
    for sweep in sweeps:
        sweep.stdin.write("go\n")
        sweep.stdin.flush()
    ended = [(*sweep.communicate(), sweep.returncode) for sweep in sweeps]
    assert [code for *_, code in ended] == [0, 0, 0], ended
    assert len({out for out, *_ in ended}) == 1
    assert ended[0][0].strip()
    found = verify(DiskStore(tmp_path / "shared"))
    assert (found.damaged, found.leftovers) == ([], 0)
    assert found.actions == verify(DiskStore(tmp_path / "alone")).actions


KILLS = """
import itertools, json, os, random, signal, sys, time
import numpy as np
from evalkit.store import DiskStore
from evalkit.store.collect import collect
from evalkit.store.verify import verify
from evalkit.values import Vectors

folder, rng = sys.argv[1], random.Random(11)

def write(first, said):
    store = DiskStore(folder)
    for i in itertools.count(first):
        rows = 1 + i * 7919 % 40_000
        store.put(f"{i:08x}", Vectors(np.full((rows, 4), i, np.float32)), "measured", {"op": "Toy"})
        store.record(f"{i:08x}", {"i": i})
        os.write(said, b"%d\\n" % i)

done, torn = 0, 0
for kill in range(30):
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        write(done, theirs)
    os.close(theirs)
    text = os.read(ours, 1 << 16)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(ours, 1 << 16):
        text += more
    os.close(ours)
    done = int(text.split()[-1]) + 1
    store = DiskStore(folder)
    found = verify(store)
    assert found.damaged == [], found.damaged
    torn += found.leftovers
    assert {f"{i:08x}" for i in range(done)} <= {name for name, *_ in store.layout.actions()}
    assert len(store.recall([f"{i:08x}" for i in range(done)])) == done
    store.journal.close()
    collect(store, grace=-100)  # nothing runs
    assert verify(store).leftovers == 0
for i in range(done):
    assert store.load(store.get(f"{i:08x}")[0]).values[0, 0] == i
print(json.dumps([done, torn]))
"""


def test_after_each_of_thirty_kills_in_mid_write_the_store_is_whole_and_has_what_was_acknowledged(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path / "store")],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    acknowledged, torn = json.loads(done.stdout)
    assert acknowledged >= 30
    assert torn >= 1  # else no kill came in mid-write, and this proves little
