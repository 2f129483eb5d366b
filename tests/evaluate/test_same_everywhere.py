"""Results and what lies in the store depend on nothing but the sweep and the data.

Not on hash seeds, threads, workers, the order of systems, the folder of the project or of the checkout, nor a race.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import cluster
from everywhere import FAILED, METRICS, SYSTEMS, names, numbers, sweep, told
from kills import ByPaidOverlap
from toys import dense, keywords

import evalkit
from evalkit import Race, Sweep, run
from evalkit.datasets.build import build
from evalkit.datasets.rows import Row
from evalkit.stages import BM25, Whole
from evalkit.store import DiskStore
from evalkit.store.layout import INPUT, read_entry
from evalkit.store.survey import survey
from evalkit.sweep import LogUniform, Random, Uniform

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What this process says, with its own hash seed and threads."""
    return told(DiskStore(tmp_path_factory.mktemp("here") / "store"))


def python(cwd: Path, checkout: Path, **changes: str):
    """Start a process of its own with a checkout."""
    cwd.mkdir()
    paths = os.pathsep.join([str(checkout / "tests"), str(checkout)])
    environment = {**os.environ, "PYTHONPATH": paths, **changes}
    command = [sys.executable, "-m", "everywhere"]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_sweep_holds_what_it_should(tiny, store):
    results = run(sweep(), tiny, METRICS, store=store)
    assert set(results.manifest["failed"]) == FAILED
    assert set(SYSTEMS) - FAILED <= set(results.systems)
    assert sum("retrieve.alpha=" in label for label in results.systems) == 5  # of six, `where` leaves one out
    assert len(results.systems) == 1 + 8 + 4 + 5 + 3
    assert survey(store).by_op()["AskFunction"].number == 1  # of two, one has no version and is not stored


def test_neither_hash_seed_nor_threads_nor_any_folder_changes_digest_numbers_or_names(here, tmp_path):
    elsewhere = tmp_path / "another checkout"
    shutil.copytree(
        Path(evalkit.__file__).parent, elsewhere / "evalkit", ignore=shutil.ignore_patterns("__pycache__")
    )
    (elsewhere / "tests").mkdir()
    for module in ("toys", "kills", "everywhere"):
        shutil.copy(TESTS / f"{module}.py", elsewhere / "tests")
    started = [
        python(tmp_path / "a", TESTS.parent, PYTHONHASHSEED="0", EVALKIT_THREADS="1"),
        python(tmp_path / "b", TESTS.parent, PYTHONHASHSEED="1", EVALKIT_THREADS="2"),
        python(tmp_path / "ein anderer Ort, größer", elsewhere, PYTHONHASHSEED="77", EVALKIT_THREADS="4"),
    ]
    found = [json.loads(process.communicate()[0]) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert found[2]["from"] == str(elsewhere / "evalkit" / "__init__.py") != found[0]["from"]
    assert len({one["digest"] for one in found}) == 1
    assert [tuple(one["told"]) for one in found] == [here] * 3


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_changes_no_number_and_no_name(monkeypatch, tmp_path, threads, here):
    monkeypatch.setenv("EVALKIT_THREADS", str(threads))
    assert told(DiskStore(tmp_path / "store")) == here


def test_the_order_of_everything_in_a_sweep_changes_no_number_and_no_name(tmp_path, here):
    forwards, backwards = sweep().variants(), sweep(-1).variants()
    assert list(forwards) != list(backwards)
    assert {v.fingerprint for v in forwards.values()} == {v.fingerprint for v in backwards.values()}
    labels = {v.fingerprint: label for label, v in forwards.items()}
    base = sweep().base
    same = Sweep(base, systems={labels[v.fingerprint]: v for v in backwards.values() if v != base})
    assert told(DiskStore(tmp_path / "store"), same) == here


def test_workers_of_a_cluster_give_the_digest_of_threads_here(tiny, tmp_path, here):
    (tmp_path / "cluster").mkdir()
    local = run(sweep(), tiny, METRICS, store=DiskStore(tmp_path / "here"))
    store = DiskStore(tmp_path / "there")
    with cluster(2, tmp_path / "cluster") as address:
        far = run(sweep(), tiny, METRICS, store=store, scheduler=address)
    assert far.digest == local.digest
    assert numbers(far) == here[0]
    more = set(names(store)) - set(here[1])
    assert set(here[1]) <= set(names(store))
    # what is not to be stored passes from worker to worker through the store, as an input that no run looks for
    assert len(more) == 1
    assert read_entry(store.layout.action(more.pop().removeprefix("action "))).op == INPUT


WORDS = [f"word{i:03d}" for i in range(160)]


def test_a_race_changes_no_mean_of_any_metric_of_those_that_stay(tmp_path):
    documents = [Row(f"d{i}", {"id": f"d{i:03d}", "text": f"{w} common text {i % 7}"}) for i, w in enumerate(WORDS)]
    queries = [Row(f"q{i}", {"id": f"q{i:03d}", "text": f"{w} common"}) for i, w in enumerate(WORDS)]
    qrels = [Row(f"r{i}", {"query": f"q{i:03d}", "document": f"d{i:03d}", "grade": 1}) for i in range(len(WORDS))]
    data = build("rare words", documents, queries, qrels)
    racing = Sweep(
        keywords(5),
        random=Random(3, {"retrieve.k1": LogUniform(0.5, 4), "retrieve.b": Uniform(0, 1)}),
        systems={
            "blind": dense(chunk=Whole(), k=5),
            "reranked": dense(retrieve=BM25(k=8), rerank=ByPaidOverlap(k=5)),
            "mine": dense(retrieve=keywords(4).retrieve, rerank=ByPaidOverlap(k=2, depth=3)),
        },
    )
    metrics = ["MRR@10", "nDCG@10", "Recall@3"]
    whole = run(racing, data, metrics, store=DiskStore(tmp_path / "whole"))
    raced = run(racing, data, metrics, store=DiskStore(tmp_path / "raced"), race=Race(metric="MRR@10", block=16))
    assert set(raced.manifest["stopped"]) == {"blind"}
    assert raced.table().equals(whole.table().loc[list(raced.systems), raced.metrics])
    rows = whole.per_query[whole.per_query["variant"] != "blind"].reset_index(drop=True)
    assert raced.per_query.equals(rows)
