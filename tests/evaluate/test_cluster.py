"""The same graph on a real Dask cluster: workers as processes on loopback, which share the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from toys import FailingWords, SlowWords, dense, hybrid, keywords, pieces

from evalkit import InputError, Sweep, Timing, run
from evalkit.machine import machine
from evalkit.stages import BM25, Dense, Whole
from evalkit.store import DiskStore

METRICS = ["nDCG@10", "MRR@10", "TokenF1"]
SWEEP = Sweep(dense(), {"chunk": [Whole(), pieces()], "retrieve": [BM25(), hybrid().retrieve], "retrieve.k": [1, 3]})

SLOW = Sweep(keywords(), systems={f"slow {i}": dense(retrieve=Dense(SlowWords(32 + i))) for i in range(12)})


@contextmanager
def cluster(workers: int, folder: Path):
    """A scheduler and its workers, as a user starts them, on ports of their own."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    started = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
        started.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL))
        return started[-1]

    place = folder / "scheduler.json"
    try:
        loopback = ("--host", "127.0.0.1", "--no-dashboard")
        start("dask_scheduler", *loopback, "--port", "0", "--scheduler-file", str(place))
        _wait(place.exists)
        address = json.loads(place.read_text())["address"]
        for _ in range(workers):
            start("dask_worker", address, *loopback, "--nthreads", "1", "--local-directory", str(folder))
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(there, seconds=60):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "the cluster did not start"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with cluster(2, tmp_path_factory.mktemp("cluster")) as found:
        yield found


def test_a_cluster_gives_the_same_digest_as_this_process(tiny, tmp_path, address):
    here = run(SWEEP, tiny, METRICS, store=DiskStore(tmp_path / "here"))
    there = run(SWEEP, tiny, METRICS, store=DiskStore(tmp_path / "there"), scheduler=address)
    assert there.digest == here.digest
    assert there.manifest["plan"]["blocks from store"] == 0
    again = run(SWEEP, tiny, METRICS, store=DiskStore(tmp_path / "there"), scheduler=address)
    assert again.manifest["plan"]["blocks from store"] == again.manifest["plan"]["blocks"]


def test_a_node_that_fails_on_a_worker_fails_its_variants_alone(tiny, tmp_path, address):
    systems = {"broken": dense(retrieve=Dense(FailingWords())), "words": keywords(5)}
    store = DiskStore(tmp_path / "store")
    results = run(Sweep(dense(), systems=systems), tiny, METRICS, store=store, scheduler=address)
    assert results.manifest["failed"] == {"broken": "embed (FailingWords): RuntimeError: no memory left"}
    assert set(results.systems) == {"base", "words"}


def test_latency_is_taken_on_one_worker_which_says_what_machine_it_is(tiny, tmp_path, address):
    timing = Timing(queries=4, warmup=1)
    store = DiskStore(tmp_path / "store")
    results = run(
        Sweep(dense(), {"retrieve.k": [1, 2]}), tiny, METRICS, timing=timing, store=store, scheduler=address
    )
    assert results.manifest["timed on"] == machine()
    assert {"ms"} <= set(results.per_query["metric"])


def test_a_worker_that_is_killed_in_the_middle_of_a_task_changes_no_result(tiny, tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    here = run(SLOW, tiny, ["MRR@10"], store=DiskStore(tmp_path / "here"))
    with cluster(2, folder) as address:
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            victim = int(next(iter(client.run(os.getpid).values())))
        threading.Timer(1.0, os.kill, (victim, signal.SIGKILL)).start()
        there = run(SLOW, tiny, ["MRR@10"], store=DiskStore(tmp_path / "there"), scheduler=address)
    assert there.digest == here.digest


def test_nobody_at_the_address_is_one_line(tiny):
    with pytest.raises(InputError, match=r"scheduler tcp://127.0.0.1:1: cannot be reached .*: dask scheduler"):
        run(dense(), tiny, METRICS, scheduler="tcp://127.0.0.1:1")
