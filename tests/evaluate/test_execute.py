from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from toys import (
    CALLS,
    KILL_AFTER,
    Echo,
    FailingWords,
    Fails,
    HashedWords,
    calls,
    count_calls,
    dense,
    hybrid,
    keywords,
    pieces,
    small_dataset,
)

from evalkit import EvalkitError, Sweep, run
from evalkit.evaluate import nodes as execution
from evalkit.evaluate.calling import caller as calling
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, query_order, sources
from evalkit.evaluate.plan import make_plan
from evalkit.presets import baseline
from evalkit.stages import BM25, Dense, FixedTokens, Whole
from evalkit.stages.index.flat import FlatBuild, FlatSearch
from evalkit.stages.retrieve.bm25 import BM25Build, BM25Search
from evalkit.store import DiskStore
from evalkit.values import Answers, Prompts

METRICS = ["MRR@10", "nDCG@10", "TokenF1"]
SWEEP = Sweep(
    dense(),
    {
        "chunk": [Whole(), pieces()],
        "retrieve": [Dense(HashedWords()), BM25(), hybrid().retrieve],
        "retrieve.k": [1, 3, 50],
        "retrieve.alpha": [0.2, 0.7],
    },
)
OPS = (Whole, FixedTokens, HashedWords, FlatBuild, FlatSearch, BM25Build, BM25Search)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))


def seams(variants, data, store):
    """The content of every variant's rankings, prompts and answers."""
    plan = make_plan({label: v.nodes() for label, v in variants.items()})
    done = execute(plan, sources(data, 0, store), Context(store))
    return {
        label: {name: Context(store).whole(done[recipe].blocks).digest for name, recipe in ends.items()}
        for label, ends in plan.wanted.items()
    }


def subprocess_environment(**changes: str) -> dict[str, str]:
    tests = Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]), **changes}


def python(code: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = subprocess_environment(**changes)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_sharing_changes_no_result_to_the_bit(tiny, tmp_path):
    variants = SWEEP.variants()
    assert len(variants) == 24
    together = seams(variants, tiny, DiskStore(tmp_path / "together"))
    for i, (label, variant) in enumerate(variants.items()):
        assert seams({label: variant}, tiny, DiskStore(tmp_path / str(i)))[label] == together[label]


def test_sharing_changes_no_result_of_the_real_model(tiny, tmp_path, shared_store):
    variants = {str(k): Sweep(baseline(), {"retrieve.k": [k]}).variants()[f"retrieve.k={k}"] for k in (1, 4)}
    together = seams(variants, tiny, shared_store)
    assert seams({"1": variants["1"]}, tiny, DiskStore(tmp_path / "alone"))["1"] == together["1"]


def test_the_order_of_variants_changes_no_result(tiny, tmp_path):
    variants = SWEEP.variants()
    back = dict(reversed(list(variants.items())))
    assert seams(variants, tiny, DiskStore(tmp_path / "a")) == seams(back, tiny, DiskStore(tmp_path / "b"))


@pytest.mark.parametrize("threads", [1, 4])
def test_the_number_of_threads_changes_no_result(monkeypatch, tiny, tmp_path, threads):
    expected = seams(SWEEP.variants(), tiny, DiskStore(tmp_path / "usual"))
    monkeypatch.setenv("EVALKIT_THREADS", str(threads))
    assert seams(SWEEP.variants(), tiny, DiskStore(tmp_path / "other")) == expected


def test_neither_hash_seed_nor_working_folder_changes_a_result(tmp_path):
    code = """
import hashlib
from toys import *
from evalkit import Sweep, run
from evalkit.store import DiskStore
from evalkit.testing import tiny_dataset
sweep = Sweep(dense(), {"retrieve": ["BM25", hybrid().retrieve], "retrieve.k": [2, 4], "chunk": [Whole(), pieces()]})
store = DiskStore("store")
results = run(sweep, tiny_dataset(), ["MRR@10", "TokenF1"], store=store)
names = sorted(path.name for part in ("objects", "actions") for path in store.folder.glob(f"{part}/*/*"))
print(results.digest, len(names), hashlib.sha256(" ".join(names).encode()).hexdigest())
"""
    found = set()
    for seed, folder in (("1", "here"), ("2", "there")):
        (tmp_path / folder).mkdir()
        made = python(code, tmp_path / folder, PYTHONHASHSEED=seed)
        assert made.returncode == 0, made.stderr
        found.add(made.stdout)
    assert len(found) == 1


def test_a_second_run_does_no_work(monkeypatch, tiny, store, asked):
    first = run(SWEEP, tiny, METRICS, store=store)
    before = calls()
    counted = count_calls(monkeypatch, *OPS)
    second = run(SWEEP, tiny, METRICS, store=DiskStore(store.folder))
    assert not counted
    assert calls() == before
    assert second.manifest["plan"]["blocks from store"] == second.manifest["plan"]["blocks"]
    assert second.digest == first.digest
    assert second.per_query.equals(first.per_query)


@pytest.mark.parametrize(
    ("changed", "work"),
    [
        (dense(k=4), {"FlatSearch": 1}),
        (dense(generate=Echo(cost=1e-9)), {}),
        (dense(retrieve=Dense(HashedWords(32))), {"HashedWords": 2, "FlatBuild": 1, "FlatSearch": 1}),
        (dense(retrieve=BM25(k=3)), {"BM25Build": 1, "BM25Search": 1}),
        (dense(chunk=pieces()), {"FixedTokens": 1, "HashedWords": 1, "FlatBuild": 1, "FlatSearch": 1}),
        (dense(chunk=Whole(titles=False)), {"Whole": 1, "HashedWords": 1, "FlatBuild": 1, "FlatSearch": 1}),
    ],
    ids=["k", "generator", "embedder", "retriever", "chunker", "titles"],
)
def test_a_changed_parameter_runs_again_only_what_it_touches(monkeypatch, tiny, store, asked, changed, work):
    run(dense(), tiny, METRICS, store=store)
    before = len(calls())
    counted = count_calls(monkeypatch, *OPS)
    run(changed, tiny, METRICS, store=store)
    assert counted == work
    assert 0 < len(calls()) - before <= len(tiny.queries)


def test_equal_input_reached_by_another_way_is_worked_on_once(monkeypatch, tiny, store, asked):
    run(Sweep(dense(k=50), {"assemble.k": [None, 50, 60]}), tiny, METRICS, store=store)
    assert len(calls()) == len(tiny.queries)
    both = Sweep(dense(retrieve=Dense(HashedWords(), k=50)), {"retrieve.k": [50, 60, 70], "chunk.titles": [True]})
    run(both, tiny, METRICS, store=store)
    assert len(calls()) == len(tiny.queries)


@dataclass(frozen=True)
class SlowWords(HashedWords):
    """Takes long enough that two calls at once would meet."""

    def __call__(self, texts):
        time.sleep(0.2)
        return super().__call__(texts)


def test_equal_actions_that_meet_at_the_same_time_are_worked_on_once(monkeypatch, store):
    counted = count_calls(monkeypatch, SlowWords)
    variant = dense(retrieve=Dense(SlowWords()))
    # each document fits into one window, so both chunkers cut the same chunks
    run(
        Sweep(variant, {"chunk": [FixedTokens(size=50), FixedTokens(size=60)]}),
        small_dataset(),
        ["MRR@10"],
        store=store,
    )
    assert counted == {"SlowWords": 2}


def test_equal_prompts_are_paid_for_once(store, asked):
    data = small_dataset(queries={"q1": "red apples", "q2": "red apples", "q4": "xylophone"})
    slow = dense(retrieve=BM25(), generate=Echo(cost=0.1))  # the four variants' calls would meet
    run(Sweep(slow, {"retrieve.k": [1, 2, 3, 4]}), data, METRICS, store=store)
    assert len(calls()) == 3  # the two that match with one chunk and with two, and the one that matches nothing


def test_a_damaged_artefact_is_made_anew_and_said(tiny, store, caplog):
    expected = run(dense(), tiny, METRICS, store=store).digest
    damaged = sorted(store.folder.glob("objects/*/*"))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = run(dense(), tiny, METRICS, store=DiskStore(store.folder))
    assert again.digest == expected
    said = [record.getMessage() for record in caplog.records]
    assert any("it is made anew" in line for line in said)
    assert (
        run(dense(), tiny, METRICS, store=DiskStore(store.folder)).manifest["plan"]["blocks from store"]
        == (again.manifest["plan"]["blocks"])
    )


def test_an_op_that_fails_is_named_with_its_stage_and_leaves_nothing_behind(tiny, store):
    with pytest.raises(EvalkitError) as caught:
        run(dense(retrieve=Dense(FailingWords())), tiny, METRICS, store=store)
    assert str(caught.value) == "embed (FailingWords): RuntimeError: no memory left"
    actions = [path.read_text() for path in store.folder.glob("actions/*/*")]
    assert not any("FailingWords" in text or "Flat" in text or "Echo" in text for text in actions)


def test_a_generator_that_fails_is_named_what_it_gave_is_kept_and_no_call_is_begun_after(
    tiny, store, asked, monkeypatch
):
    monkeypatch.setattr(calling, "AT_ONCE", 1)
    with pytest.raises(EvalkitError) as caught:
        run(dense(generate=Fails(after=3)), tiny, METRICS, store=store)
    assert str(caught.value) == "generate (Fails): RuntimeError: the quota is spent"
    assert len(calls()) == 4  # three that were answered and the one that failed
    assert not any("Fails" in path.read_text() for path in store.folder.glob("actions/*/*"))
    with pytest.raises(EvalkitError):
        run(dense(generate=Fails(after=3)), tiny, METRICS, store=store)
    assert len(calls()) == 5
    assert len(set(calls()[:3]) & set(calls()[3:])) == 0


RUN = """
from toys import *
from evalkit import run
from evalkit.store import DiskStore
from evalkit.testing import tiny_dataset
print(run(hybrid(), tiny_dataset(), ["MRR@10", "TokenF1"], store=DiskStore("store")).digest)
"""


def test_after_a_kill_only_the_missing_calls_are_made_and_the_results_are_the_same(tmp_path, tiny):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    expected = python(RUN, whole)
    assert expected.returncode == 0, expected.stderr
    first = python(RUN, killed, **{CALLS: str(killed / "calls"), KILL_AFTER: "6"})
    assert first.returncode == -9
    paid = (killed / "calls").read_text().splitlines()
    assert len(paid) == 6
    second = python(RUN, killed, **{CALLS: str(killed / "calls")})
    assert second.stdout == expected.stdout
    made = (killed / "calls").read_text().splitlines()
    # the answer that was in hand when the process died had not come back yet
    assert sorted(set(made)) == sorted(tiny.queries.text)
    assert len(made) - len(paid) <= len(tiny.queries) - len(paid) + 1


def test_k_beyond_the_corpus_gives_all_there_is(tiny, store):
    variants = {str(k): dense(k=k) for k in (12, 13, 10_000)}
    found = seams(variants, tiny, store)
    assert found["12"] == found["13"] == found["10000"]


def test_a_run_works_inside_a_running_event_loop(tiny, store):
    async def notebook():
        return run(dense(), tiny, METRICS, store=store)

    assert asyncio.run(notebook()).digest == run(dense(), tiny, METRICS, store=store).digest


def test_blocks_hold_every_query_once_in_a_seeded_order(monkeypatch, tiny, store):
    monkeypatch.setattr(execution, "QUERY_BLOCK", 3)
    monkeypatch.setattr(execution, "CORPUS_BLOCK", 5)
    given = sources(tiny, 7, store)
    corpus, queries = (Context(store).whole(result.blocks) for result in given.values())
    assert [len(result.blocks) for result in given.values()] == [3, 3]
    assert list(corpus.id) == list(tiny.documents.id)
    assert list(queries.id) == query_order(tiny, 7) != list(tiny.queries.id)
    assert query_order(tiny, 7) != query_order(tiny, 8)
    fewer = tiny.select(["q1", "q3", "q8"])
    assert query_order(fewer, 7) == [name for name in query_order(tiny, 7) if name in ("q1", "q3", "q8")]


def test_the_size_of_blocks_changes_no_number(monkeypatch, tiny, tmp_path):
    expected = run(SWEEP, tiny, METRICS, store=DiskStore(tmp_path / "a"))
    monkeypatch.setattr(execution, "QUERY_BLOCK", 3)
    monkeypatch.setattr(execution, "CORPUS_BLOCK", 5)
    found = run(SWEEP, tiny, METRICS, store=DiskStore(tmp_path / "b"))
    assert found.digest == expected.digest


def test_a_seed_changes_the_order_of_work_and_no_mean(tiny, tmp_path):
    one, other = (run(hybrid(), tiny, METRICS, seed=s, store=DiskStore(tmp_path / str(s))) for s in (0, 1))
    np.testing.assert_array_equal(one.summary["value"], other.summary["value"])
    assert one.per_query.equals(other.per_query)


def test_rows_of_an_inexact_op_are_worked_on_one_by_one(monkeypatch, tiny, tmp_path):
    expected = seams({"": dense()}, tiny, DiskStore(tmp_path / "a"))
    monkeypatch.setattr(HashedWords, "row_exact", False)
    counted = count_calls(monkeypatch, HashedWords)
    assert seams({"": dense()}, tiny, DiskStore(tmp_path / "b")) == expected
    assert counted["HashedWords"] == 1 + len(tiny.queries)


def test_an_empty_prompt_has_an_answer_too(store):
    plan = make_plan({"": keywords().nodes()})
    data = small_dataset()
    done = execute(plan, sources(data, 0, store), Context(store))
    prompts, answers = (Context(store).whole(done[plan.wanted[""][seam]].blocks) for seam in ("prompt", "answer"))
    assert isinstance(prompts, Prompts)
    assert isinstance(answers, Answers)
    row = query_order(data, 0).index("q4")
    assert list(prompts.passages[row]) == []
    assert answers.text[row] == " [0: xylophone]"
    assert list(answers.cited[row]) == []


def test_what_an_older_version_of_a_package_made_is_not_read_back(tiny, store, monkeypatch):
    sweep = Sweep(baseline(), grid={"retrieve": ["BM25"]})
    run(sweep, tiny, ["MRR@10"], store=store)
    assert run(sweep, tiny, ["MRR@10"], store=store).manifest["plan"]["blocks from store"] == 8
    now = execution.packages_of

    def older(op):
        return {name: "0" if name == "bm25s" else version for name, version in now(op).items()}

    monkeypatch.setattr(execution, "packages_of", older)
    again = run(sweep, tiny, ["MRR@10"], store=store)
    assert again.manifest["plan"]["blocks from store"] == 6
