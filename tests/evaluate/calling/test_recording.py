"""Runs that keep their calls in a cassette, and runs that are answered from one."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from paid import BATCHES, Paid, PaidInBatches
from recordings import (
    METRICS,
    Counting,
    FreeWords,
    PaidWords,
    do,
    figures,
    forget_calls,
    part_of,
    texts,
)
from rule_judge import RuleJudge, Says
from toys import CALLS, calls, dense

from evalkit import EvalkitError, Sweep, run
from evalkit.evaluate.calling.recording import Recording
from evalkit.llm.cassettes import calls as recorded
from evalkit.llm.cassettes import header_of, write_entries
from evalkit.llm.claude import Claude
from evalkit.llm.server import FakeClaude, Fault, Faults, serving
from evalkit.stages import BM25, Dense
from evalkit.store import DiskStore
from evalkit.store.survey import survey


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


def test_a_replay_on_an_empty_store_gives_the_recorded_results_and_calls_nobody(tiny, store, file, fresh):
    first, recording = do(store, file, "record")
    digests = set()
    assert recording.called == len(calls()) == len(tiny.queries)
    assert header_of(file).calls == len(tiny.queries)
    forget_calls()
    for mode in ("replay", "replay-or-fail", "record"):
        again, replaying = do(fresh(), file, mode)
        digests.add(again.digest)
        assert figures(again) == figures(first)
        assert calls() == []
        assert (replaying.answered, replaying.called) == (len(tiny.queries), 0)
        assert again.manifest["spending"]["dollars"] == 0
    assert len(digests) == 1


def test_numbers_from_a_cassette_say_that_they_are_replayed(store, file, fresh):
    def origins(results):
        return results.summary.set_index("metric")["origin"].to_dict()

    first = origins(do(store, file, "record")[0])
    again = origins(do(fresh(), file, "replay")[0])
    assert set(first.values()) == {"measured"}
    assert again["DollarsPerQuery"] == again["TokenF1"] == "replayed"


def test_what_rests_on_a_call_is_not_taken_from_the_store(tiny, store, file):
    do(store, file, "record")
    assert set(survey(store).by_op()) & {"Paid"} == set()
    forget_calls()
    empty = file.with_name("empty.jsonl.gz")
    write_entries(empty, {})
    results, recording = do(store, empty, "replay")  # the journal has every call, and is not asked
    assert len(calls()) == recording.called == len(tiny.queries)
    with pytest.raises(EvalkitError, match=r"empty\.jsonl\.gz: no answer to .* it holds no calls at all"):
        do(store, empty, "replay-or-fail")
    assert results.manifest["spending"]["dollars"] > 0


def test_record_calls_only_for_what_is_lacking(tiny, store, file, fresh):
    do(store, file, "record", data=part_of(tiny, 3))
    before = texts(file)
    forget_calls()
    _, recording = do(fresh(), file, "record", Paid())
    assert len(calls()) == len(tiny.queries) - 3 == recording.called
    assert before.items() <= texts(file).items()
    assert len(texts(file)) == len(tiny.queries)
    assert not set(before) & set(calls())


def test_a_replay_calls_for_what_is_lacking_once_and_adds_nothing(tiny, store, file, fresh):
    sweep = Sweep(dense(1, generate=Paid()), systems={"keywords": dense(generate=Paid(), retrieve=BM25(k=1))})
    whole = file.with_name("whole.jsonl.gz")
    with Recording(fresh(), whole) as recording:
        run(sweep, tiny, METRICS, store=recording)
    distinct = header_of(whole).calls
    assert len(tiny.queries) < distinct < 2 * len(tiny.queries)  # the two systems share some prompts
    do(store, file, "record", data=part_of(tiny, 3), k=1)
    before = file.read_bytes()
    forget_calls()
    with Recording(fresh(), file, "replay") as recording:
        run(sweep, tiny, METRICS, store=recording)
    assert len(calls()) == recording.called == distinct - 3
    assert file.read_bytes() == before
    assert f" answered from it, {distinct - 3} called for and not added" in recording.told()


def test_replay_or_fail_names_the_nearest_call_and_what_differs(tiny, store, file, fresh):
    do(store, file, "record")
    forget_calls()
    with pytest.raises(EvalkitError) as caught:
        do(fresh(), file, "replay-or-fail", Paid("claude-sonnet-5"))
    assert "\n" not in str(caught.value)
    assert (
        "differs in the generator's model 'claude-opus-5', not 'claude-sonnet-5'. To record it: --cassette-"
        in str(caught.value)
    )
    with pytest.raises(EvalkitError, match="its 3 passages, not 1"):
        do(fresh(), file, "replay-or-fail", k=1)
    assert calls() == []


def test_what_cannot_be_replayed_does_not_stop_what_can(tiny, store, file, fresh):
    do(store, file, "record")
    systems = {"other": dense(generate=Paid("claude-sonnet-5"))}
    with Recording(fresh(), file, "replay-or-fail") as recording:
        results = run(Sweep(dense(generate=Paid()), systems=systems), tiny, METRICS, store=recording)
    assert list(results.systems) == ["base"]
    assert "no answer to" in results.manifest["failed"]["other"]


def test_a_broken_stream_and_a_failure_are_replayed_as_they_were(tiny, store, file, fresh):
    question = str(tiny.queries.text[0])
    breaks = Paid(breaks=question.rsplit(maxsplit=1)[-1])
    first, _ = do(store, file, "record", breaks)
    assert header_of(file).given_up >= 1
    again, recording = do(fresh(), file, "replay-or-fail", breaks)
    assert figures(again) == figures(first)
    assert recording.answered == len(tiny.queries)
    other = file.with_name("refuses.jsonl.gz")
    refuses = Paid(refuses=question.rsplit(maxsplit=1)[-1], final=True)
    with pytest.raises(EvalkitError) as caught:
        do(store, other, "record", refuses)
    forget_calls()
    with pytest.raises(EvalkitError) as told:
        do(fresh(), other, "replay", refuses)
    assert "overloaded; try again later" in str(told.value)
    assert "overloaded; try again later" in str(caught.value)


def test_a_failure_is_called_for_again_when_more_is_recorded(tiny, store, file):
    question = str(tiny.queries.text[0])
    refuses = Paid(refuses=question)
    with pytest.raises(EvalkitError, match=r"are without an answer|try again later"):
        do(store, file, "record", refuses)
    assert header_of(file).given_up == 1
    with pytest.raises(EvalkitError):
        do(store, file, "record", refuses)
    assert Counter(calls())[question] == 2
    assert max(n for text, n in Counter(calls()).items() if text != question) == 1


def test_vectors_that_are_paid_for_are_recorded_and_those_of_this_machine_are_not(tiny, store, file, fresh):
    first, _ = do(store, file, "record", Counting(), retrieve=Dense(PaidWords(), k=3))
    assert header_of(file).embeddings == len(tiny.queries) + len(tiny.documents)
    sides = Counter(
        json.loads(line).get("side") for line in gzip.decompress(file.read_bytes()).splitlines() if b"float32" in line
    )
    assert sides == {"query": len(tiny.queries), "passage": len(tiny.documents)}
    assert "PaidWords" not in survey(store).by_op()
    forget_calls()
    again, _ = do(fresh(), file, "replay-or-fail", Counting(), retrieve=Dense(PaidWords(), k=3))
    assert (figures(again), calls()) == (figures(first), [])
    other = file.with_name("free.jsonl.gz")
    free = Dense(FreeWords(), k=3)
    do(store, other, "record", Counting(), retrieve=free)
    assert header_of(other).embeddings == 0
    empty_store = fresh()
    do(empty_store, other, "replay-or-fail", Counting(), retrieve=free)  # not in the cassette: worked out
    assert "FreeWords" in survey(empty_store).by_op()


def test_a_vector_that_is_lacking_is_an_error_before_it_is_asked_for(tiny, store, file, fresh):
    do(store, file, "record", Counting(), part_of(tiny, 3), retrieve=Dense(PaidWords(), k=3))
    forget_calls()
    with pytest.raises(EvalkitError, match=r"no vector of query '.*' is recorded; nearest is"):
        do(fresh(), file, "replay-or-fail", Counting(), retrieve=Dense(PaidWords(), k=3))
    assert calls() == []


def test_batches_are_recorded_and_replayed(tiny, store, file, fresh):
    first, _ = do(store, file, "record", PaidInBatches())
    assert header_of(file).lines == len(tiny.queries)  # notes of batches are no calls
    forget_calls()
    again, _ = do(fresh(), file, "replay-or-fail", PaidInBatches())
    assert (figures(again), calls()) == (figures(first), [])
    with pytest.raises(EvalkitError, match="no answer to"):
        do(fresh(), file, "replay-or-fail", PaidInBatches("claude-sonnet-5"))
    assert len(list(Path(os.environ[BATCHES]).iterdir())) == 1


def test_judgements_are_recorded_and_replayed_failed_ones_too(tiny, store, file, fresh):
    judge = RuleJudge(fault="failure", breaks="ferry", noise=0.2)

    def judged(where, mode):
        with Recording(where, file, mode) as recording:
            return run(dense(generate=Says()), tiny, ["Faithfulness"], judge=judge, store=recording)

    first = judged(store, "record")
    assert header_of(file).given_up > 0
    assert {one.generator["is"].rpartition(":")[2] for one in recorded(file)} == {"RuleJudge", "Says"}
    forget_calls()
    again = judged(fresh(), "replay-or-fail")
    assert (figures(again), calls()) == (figures(first), [])


def test_claude_is_recorded_with_its_tries_and_replayed_to_the_microsecond(tiny, store, file, fresh, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-planted-in-a-test-0123456789")
    faults = Faults((Fault("server_error", at=(2,)), Fault("cut_after_pieces", at=(3,), pieces=1)))
    with serving(FakeClaude(Counting(), faults=faults)) as server:
        claude = Claude(base_url=server.url, server="loopback", retries=3)
        first, recording = do(store, file, "record", claude)
        billed = server.ledger(rows=False)
    assert recording.called == len(tiny.queries)
    made = [one.call for one in recorded(file)]
    assert sum(len(call.attempts) for call in made) == 2
    assert all(call.pieces and call.seconds >= call.pieces[-1] for call in made)
    again, _ = do(fresh(), file, "replay-or-fail", Claude(base_url="http://127.0.0.1:9", server="loopback"))
    assert figures(again) == figures(first)
    assert again.manifest["spending"]["calls"] == 0
    assert billed
