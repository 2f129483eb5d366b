"""What a run does when a part of it fails, is interrupted or runs out of time: the rest goes on, and it is told."""

from __future__ import annotations

import _thread
import re
import threading

import pytest
from toys import FailingWords, SlowWords, count_calls, dense, hybrid, keywords

from evalkit import EvalkitError, Results, Sweep, run
from evalkit.cli import main
from evalkit.evaluate.execute import attempt
from evalkit.evaluate.nodes import STOPPED, Context, Failure, sources
from evalkit.evaluate.plan import make_plan
from evalkit.stages import Dense
from evalkit.stages.retrieve.bm25 import BM25Build
from evalkit.sweep import SweepBudget

METRICS = ["nDCG@10", "MRR@10"]
FILES = {
    "documents.jsonl": '{"id": "d1", "text": "Red apples grow."}\n{"id": "d2", "text": "Pears fall."}\n',
    "queries.jsonl": '{"id": "q1", "text": "What grows?"}\n{"id": "q2", "text": "What falls?"}\n',
    "qrels.tsv": "q1\td1\t1\nq2\td2\t1\n",
}
SPEC = """
name: some
dataset: data
sweep:
  base: {chunk: Whole, retrieve: BM25}
  systems:
    served: {chunk: Whole, retrieve: {Dense: {embedder: {OpenAIEmbeddings: {base_url: "http://127.0.0.1:9/v1"}}}}}
"""
SYSTEMS = {"words": keywords(5), "broken": dense(retrieve=Dense(FailingWords())), "both": hybrid(k=5)}


def test_a_node_that_fails_fails_its_variants_alone_and_says_why(tiny, store):
    whole = run(Sweep(dense(), systems=SYSTEMS), tiny, METRICS, store=store)
    assert list(whole.systems) == ["base", "words", "both"]
    assert whole.manifest["failed"] == {"broken": "embed (FailingWords): RuntimeError: no memory left"}
    assert set(whole.summary["variant"]) == {"base", "words", "both"}
    assert "FAILED broken: embed (FailingWords)" in repr(whole)
    alone = run(Sweep(dense(), systems={"words": keywords(5)}), tiny, METRICS, store=store)
    assert alone.table().loc["words"].equals(whole.table().loc["words"])


def test_where_the_base_fails_the_first_system_that_was_done_is_compared_with(tiny, store):
    results = run(
        Sweep(dense(retrieve=Dense(FailingWords())), systems={"words": keywords(5)}), tiny, METRICS, store=store
    )
    assert results.base == "words"
    assert list(results.manifest["failed"]) == ["base"]


def test_where_all_fail_the_run_fails_with_the_first_reason(tiny, store):
    with pytest.raises(EvalkitError, match=r"embed \(FailingWords\): RuntimeError: no memory left"):
        run(dense(retrieve=Dense(FailingWords())), tiny, METRICS, store=store)


def test_the_command_says_what_failed_and_its_exit_code_too(tmp_path, monkeypatch, capsys):
    """An embedding server that nobody runs fails its variant; BM25 goes on, and the page says so too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evalkit.toml").write_text("")
    (tmp_path / "data").mkdir()
    for name, text in FILES.items():
        (tmp_path / "data" / name).write_text(text)
    (tmp_path / "some.yaml").write_text(SPEC)
    assert main(["run", "some.yaml", "--no-track", "--out", "out"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"FAILED served: .*127\.0\.0\.1:9", printed)
    assert "FAILED served" in (tmp_path / "out" / "report.html").read_text()
    assert set(Results.load(tmp_path / "out").systems) == {"base"}


def test_an_interrupted_run_gives_what_is_done_and_says_that_it_is_partial(tiny, store):
    slow = {f"slow {i}": dense(retrieve=Dense(SlowWords(32 + i, pause=0.4))) for i in range(30)}
    threading.Timer(1.5, _thread.interrupt_main).start()
    results = run(Sweep(keywords(5), systems=slow), tiny, METRICS, store=store)
    left = results.manifest["unfinished"]
    assert 0 < len(left) < 30
    assert len(results.systems) == 31 - len(left)
    assert f"PARTIAL: the run was ended early; {len(left)} systems are not finished" in repr(results)
    again = run(Sweep(keywords(5), systems=slow), tiny, METRICS, store=store)
    assert again.manifest["unfinished"] == []
    done = list(results.systems)
    assert again.table().loc[done].equals(results.table().loc[done])


def test_an_interruption_before_anything_is_done_is_one(tiny, store):
    threading.Timer(0.5, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        run(dense(retrieve=Dense(SlowWords(pause=2.0))), tiny, METRICS, store=store)


def test_a_budget_of_minutes_ends_the_run_and_one_of_variants_shortens_it(tiny, store):
    slow = {f"slow {i}": dense(retrieve=Dense(SlowWords(32 + i, pause=0.4))) for i in range(30)}
    results = run(Sweep(keywords(5), systems=slow), tiny, METRICS, store=store, budget=SweepBudget(minutes=1.5 / 60))
    assert 0 < len(results.manifest["unfinished"]) < 30
    short = run(Sweep(keywords(5), systems=SYSTEMS), tiny, METRICS, store=store, budget=SweepBudget(variants=2))
    assert list(short.systems) == ["words", "both"] or len(short.systems) + len(short.manifest["failed"]) == 2


def test_what_needs_a_failed_node_is_not_run(tiny, store, monkeypatch):
    counted = count_calls(monkeypatch, BM25Build)
    variant = dense(retrieve=Dense(FailingWords()))
    plan = make_plan({"broken": variant.nodes(), "words": keywords().nodes()})
    done = attempt(plan, sources(tiny, 0, store), Context(store))
    failures = {outcome.reason for outcome in done.values() if isinstance(outcome, Failure)}
    assert failures == {"embed (FailingWords): RuntimeError: no memory left"}
    assert isinstance(done[plan.wanted["broken"]["answer"]], Failure)
    assert not isinstance(done[plan.wanted["words"]["answer"]], Failure)
    assert counted == {"BM25Build": 1}


def test_a_context_that_was_told_to_stop_works_on_nothing(tiny, store, monkeypatch):
    counted = count_calls(monkeypatch, BM25Build)
    context = Context(store)
    context.stop.set()
    plan = make_plan({"words": keywords().nodes()})
    done = attempt(plan, sources(tiny, 0, store), context)
    assert done[plan.wanted["words"]["answer"]] == STOPPED
    assert not counted


def test_a_budget_that_no_system_meets_is_told_and_is_no_interruption(tiny, store):
    with pytest.raises(EvalkitError, match=r"budget of 0.002 minutes was spent before any system was done"):
        run(
            dense(retrieve=Dense(SlowWords(pause=1.0))), tiny, METRICS, store=store, budget=SweepBudget(minutes=0.002)
        )


def test_a_base_that_failed_is_said_to_be_replaced(tiny, store):
    results = run(
        Sweep(dense(retrieve=Dense(FailingWords())), systems={"words": keywords(5)}), tiny, METRICS, store=store
    )
    assert "The base has no results; words stands in its place." in repr(results)
