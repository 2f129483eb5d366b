"""The same graph on a real Dask cluster: workers as processes on loopback, which share the store."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from clusters import cluster
from toys import FailingWords, SlowWords, dense, hybrid, keywords, pieces

from evalkit import InputError, Sweep, Timing, run
from evalkit.machine import machine
from evalkit.stages import BM25, Dense, Whole
from evalkit.store import DiskStore

METRICS = ["nDCG@10", "MRR@10", "TokenF1"]
SWEEP = Sweep(dense(), {"chunk": [Whole(), pieces()], "retrieve": [BM25(), hybrid().retrieve], "retrieve.k": [1, 3]})

SLOW = Sweep(keywords(), systems={f"slow {i}": dense(retrieve=Dense(SlowWords(32 + i))) for i in range(12)})


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
