"""A migration: killed and resumed without embedding anything twice, checked, switched, rolled back."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from toys import CALLS, KILL_AFTER, HashedWords, calls, dense, keywords, note_call, pieces

from evalkit import InputError, Variant, replay, run
from evalkit.columns import Strings
from evalkit.evaluate import nodes as execution
from evalkit.serving.migration import Migration
from evalkit.stages import Dense, Parents, SummariesFirst
from evalkit.store import DiskStore
from evalkit.testing import tiny_dataset
from evalkit.values import Chunks, Queries

HERE = Path(__file__).parent
BETWEEN: list = []
"""Called before every call of a `Logged` embedder on the corpus side."""


@dataclass(frozen=True)
class Logged(HashedWords):
    """An embedder that leaves a line for every text: ``+`` for the corpus, ``?`` for queries."""

    salt: int = 0

    def __call__(self, texts):
        for act in BETWEEN:
            act()
        for text in texts.searched if isinstance(texts, Chunks) else texts.text:
            note_call(("? " if isinstance(texts, Queries) else "+ ") + text.replace("\n", " "))
        return super().__call__(texts)

    def encode(self, texts):
        return np.roll(super().encode(texts), self.salt, axis=1)  # no vector is near its like of another salt


@dataclass(frozen=True)
class Paid(Logged):
    """One that is journalled, and whose vectors depend on the other texts in a call."""

    row_exact: ClassVar[bool] = False
    journalled: ClassVar[bool] = True

    def encode(self, texts):
        vectors = super().encode(texts) + np.float32(1e-3 * len(texts))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)


@dataclass(frozen=True)
class ByBatch(Paid):
    journalled: ClassVar[bool] = False


def variant(embedder, **changes) -> Variant:
    return dense(retrieve=Dense(embedder, k=4), **changes)


OLD, NEW = variant(HashedWords()), variant(Logged())


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Count the texts embedded from here on."""
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    return lambda: [line for line in calls() if line.startswith("+ ")]


def migration(tmp_path, store, new=NEW, **changes):
    return Migration(OLD, new, changes.pop("data", tiny_dataset()), tmp_path / "live", store, **changes)


def counts(status):
    return status.done, status.documents, status.ready


def answers(system, data, store):
    return list(replay(system, data, store=store).per_request["answer"])


def ranking(system, data, store):
    """The digest of every per-query number."""
    return run(system, data, ["MRR@10", "Recall@3"], store=store).digest


KILLED = """
import sys
from pathlib import Path
import test_migration as t
from evalkit.store import DiskStore
new = {"exact": t.NEW, "paid": t.variant(t.Paid())}[sys.argv[1]]
print(t.migration(Path.cwd(), DiskStore("store"), new, batch=3).run())
"""


def in_a_process(folder, kind, **more):
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    env = {**os.environ, "PYTHONPATH": path, CALLS: str(folder / "calls"), "EVALKIT_ROOT": str(folder), **more}
    command = [sys.executable, "-c", KILLED, kind]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["exact", "paid"])
def test_after_a_kill_what_was_embedded_is_not_embedded_again(tmp_path, log, kind):
    data = tiny_dataset()
    first = in_a_process(tmp_path, kind, **{KILL_AFTER: "8"})  # in the third batch of three documents
    assert first.returncode == -9, first.stderr
    before, store = log(), DiskStore(tmp_path / "store")
    assert len(before) == 8
    going = migration(tmp_path, store, {"exact": NEW, "paid": variant(Paid())}[kind], batch=3)
    assert counts(going.status()) == (6, 12, False)
    assert going.live is OLD
    assert answers(going.live, data, store) == answers(OLD, data, DiskStore(tmp_path / "other"))
    with pytest.raises(InputError, match=r"the new index is not complete \(6 of 12 documents are embedded\)"):
        going.switch()
    assert counts(going.run()) == (12, 12, True)
    again = log()[len(before) :]
    assert len(again) == 6
    assert not set(again) & set(before[:6])
    whole = Migration(OLD, going.new, data, tmp_path / "live", DiskStore(tmp_path / "whole"), batch=3)
    whole.run()
    assert ranking(going.new, data, store) == ranking(going.new, data, whole.store)


@pytest.mark.parametrize("embedder", [Logged(), Paid(), ByBatch()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("block", [5, 512])
def test_what_was_built_is_what_evaluations_and_replays_use(tmp_path, log, monkeypatch, store, embedder, block):
    monkeypatch.setattr(execution, "CORPUS_BLOCK", block)
    data, new = tiny_dataset(), variant(embedder)
    migration(tmp_path, store, new, batch=2).run()
    assert len(log()) == 12
    found = ranking(new, data, store), answers(new, data, store)
    assert len(log()) == 12
    fresh = DiskStore(tmp_path / "fresh")
    if embedder != Paid():  # the vectors that a journal keeps are those of the calls that were made
        assert found == (ranking(new, data, fresh), answers(new, data, fresh))


@pytest.mark.parametrize("batch", [1, 2, 5, 11, 12, 100])
@pytest.mark.parametrize(
    "make",
    [Dense, lambda e: Parents(Dense(e), pieces(8)), lambda e: SummariesFirst(e, documents=4)],
    ids=["dense", "parents", "summaries"],
)
def test_the_size_of_batches_changes_nothing_but_what_a_kill_may_cost(tmp_path, store, monkeypatch, batch, make):
    monkeypatch.setattr(execution, "CORPUS_BLOCK", 7)
    new = dense(chunk=pieces(16), retrieve=make(Logged(salt=1)))
    going = migration(tmp_path, store, new, batch=batch)
    assert counts(going.status()) == (0, 12, False)
    assert counts(going.run()) == (12, 12, True)
    actions = len(list(store.folder.glob("actions/*/*")))
    assert counts(going.run()) == (12, 12, True)
    assert len(list(store.folder.glob("actions/*/*"))) == actions
    assert ranking(new, going.data, store) == ranking(new, going.data, DiskStore(tmp_path / "fresh"))


def test_a_text_that_no_batch_may_change_is_worked_on_in_the_stores_own_blocks(tmp_path, store, log, monkeypatch):
    monkeypatch.setattr(execution, "CORPUS_BLOCK", 5)
    going = migration(tmp_path, store, variant(ByBatch()), batch=2)
    seen = []
    monkeypatch.setattr(f"{__name__}.BETWEEN", [lambda: seen.append((len(log()), going.status().done))])
    going.run()
    assert seen == [(0, 0), (5, 5), (10, 10)]


def test_a_batch_is_of_whole_documents_however_many_chunks_they_have(tmp_path, store, monkeypatch):
    going = migration(tmp_path, store, variant(Logged(), chunk=pieces(16)), batch=5)
    seen = []
    monkeypatch.setattr(f"{__name__}.BETWEEN", [lambda: seen.append(going.status().done)])
    going.run()
    assert seen == [0, 5, 10]


def test_the_old_variant_serves_while_the_new_one_is_built(tmp_path, store, monkeypatch, log):
    data, going = tiny_dataset(), migration(tmp_path, store, batch=5)
    expected, seen = answers(OLD, data, store), []

    def ask():
        seen.append((going.live is OLD, going.status().done, answers(going.live, data, store) == expected))

    monkeypatch.setattr(f"{__name__}.BETWEEN", [ask])
    going.run()
    assert seen == [(True, 0, True), (True, 5, True), (True, 10, True)]
    assert going.live is OLD


def test_switch_and_roll_back_change_what_is_live_and_build_nothing(tmp_path, store, log):
    going = migration(tmp_path, store)
    going.run()
    ranking(OLD, going.data, store)
    built = len(log())
    went = [going.live]
    for act in (going.switch, going.switch, going.roll_back, going.roll_back, going.switch):
        act()
        went.append(going.live)
    assert went == [OLD, NEW, NEW, OLD, OLD, NEW]
    assert migration(tmp_path, store).live is not OLD  # whoever looks
    assert len(log()) == built


def test_nothing_is_rolled_back_before_a_switch_and_nobody_elses_variant_at_all(tmp_path, store):
    going = migration(tmp_path, store)
    going.roll_back()
    assert going.live is OLD
    going.run()
    going.switch()
    other = Migration(keywords(), dense(k=2), going.data, tmp_path / "live", store)
    other.run()
    for act in (other.switch, other.roll_back):
        with pytest.raises(InputError, match="another variant is live"):
            act()
    assert going.live is NEW


def test_documents_that_change_need_building_again_but_only_they(tmp_path, store, log):
    migration(tmp_path, store, batch=3).run()
    data = tiny_dataset()
    texts = [
        text + " New." if name == "dogs" else text
        for name, text in zip(data.documents.id, data.documents.text, strict=True)
    ]
    changed = replace(data, documents=replace(data.documents, text=Strings.of(texts)))
    going = migration(tmp_path, store, data=changed, batch=3)
    assert counts(going.status())[::2] == (0, False)  # cut anew first: then it shows what is there already
    before = len(log())
    going.run()
    assert len(log()) - before == 3


def test_a_variant_without_an_embedder_is_built_too(tmp_path, store):
    going = migration(tmp_path, store, keywords())
    assert counts(going.status()) == (0, 12, False)
    assert counts(going.run()) == (12, 12, True)
    going.switch()
    assert going.live == keywords()


def test_a_query_vector_of_the_old_model_is_never_used_with_the_new_index(tmp_path, store, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    data, old, new = tiny_dataset(), variant(Paid()), variant(Paid(salt=3))
    fresh = ranking(new, data, DiskStore(tmp_path / "fresh")), answers(new, data, DiskStore(tmp_path / "fresh"))
    ranking(old, data, store)
    asked = len([line for line in calls() if line.startswith("? ")])
    ranking(old, data, store)
    assert len([line for line in calls() if line.startswith("? ")]) == asked  # the old ones are kept, for the old
    going = Migration(old, new, data, tmp_path / "live", store)
    going.run()
    going.switch()
    assert (ranking(going.live, data, store), answers(going.live, data, store)) == fresh
    again = [line for line in calls() if line.startswith("? ")][asked:]
    assert set(again) == {f"? {text}" for text in data.queries.text}


def test_a_check_compares_rankings_and_their_quality(tmp_path, store):
    data, new = tiny_dataset(), dense(k=4, chunk=pieces(16), retrieve=Dense(Logged(salt=2), k=9))
    going = migration(tmp_path, store, new)
    with pytest.raises(InputError, match="the new index is not complete"):
        going.check()
    going.run()
    found = going.check(metrics=["MRR@10"], k=3)
    expected = {}
    for i, query in enumerate(data.queries.id):
        tops = []
        for system in (OLD, new):
            chunks = system.chunk(data.documents)
            scores = system.retrieve.embedder(chunks).values @ system.retrieve.embedder(data.queries).values[i]
            order = sorted(range(len(chunks)), key=lambda j: (-round(float(scores[j]), 5), j))[: system.retrieve.k]
            tops.append(set(list(dict.fromkeys(chunks.document[j] for j in order))[:3]))
        expected[query] = len(tops[0] & tops[1]) / max(map(len, tops))
    assert found.per_query == expected
    assert found.overlap.value == pytest.approx(np.mean(list(expected.values())))
    assert found.overlap.low <= found.overlap.value <= found.overlap.high
    ((label, difference),) = found.quality.by_metric["MRR@10"].items()
    direct = [run(v, data, ["MRR@10"], store=store).table()["MRR@10"].iloc[0] for v in (OLD, new)]
    assert difference.difference == pytest.approx(direct[1] - direct[0])
    assert difference.low <= difference.difference <= difference.high
    assert "retrieve" in label


def test_a_check_of_unjudged_questions_tells_the_overlap_alone(tmp_path, store):
    data = tiny_dataset()
    going = migration(tmp_path, store)
    going.run()
    found = going.check(replace(data, qrels={}))
    assert found.quality is None
    assert found.overlap.value == 1.0  # the same embedder, but for its log


def test_a_check_on_other_documents_is_refused(tmp_path, store):
    data = tiny_dataset()
    going = migration(tmp_path, store)
    going.run()
    other = replace(data, documents=data.documents.take(range(5)))
    with pytest.raises(InputError, match="holds other documents than tiny, which is migrated"):
        going.check(other)


def test_a_migration_that_means_nothing_is_refused(tmp_path, store):
    with pytest.raises(InputError, match="Migration: batch is 0; it must be at least 1"):
        migration(tmp_path, store, batch=0)
    with pytest.raises(InputError, match="Migration: old and new are the same variant"):
        migration(tmp_path, store, OLD)
