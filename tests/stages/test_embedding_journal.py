"""Each text is embedded once, whatever table it stands in and whatever happens to the process."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from toys import HashedWords, dense, pieces, small_dataset

from evalkit import EvalkitError, Sweep, run
from evalkit.columns import Strings
from evalkit.evaluate import apply as execution
from evalkit.evaluate import nodes as scheduling
from evalkit.evaluate.apply import apply
from evalkit.stages import Dense, FixedTokens, Whole
from evalkit.stages.embed.onnx import ONNX
from evalkit.store import DiskStore
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Chunks, Queries, Vectors

PAID = "JOURNAL_PAID"
"""Names the file in which every embedded text leaves a line."""
KILL_AFTER = "JOURNAL_KILL_AFTER"
"""After how many lines the process is killed."""


@dataclass(frozen=True)
class Paid(HashedWords):
    """An embedder that is paid by the text."""

    journalled: ClassVar[bool] = True

    def __call__(self, texts):
        made = super().__call__(texts)
        with Path(os.environ[PAID]).open("a", encoding="utf-8") as file:
            file.writelines(f"{type(texts).__name__} {text!r}\n" for text in asked_of(texts))
        if len(paid()) >= int(os.environ.get(KILL_AFTER, "1000000")):
            os.kill(os.getpid(), signal.SIGKILL)
        return made


@dataclass(frozen=True)
class Batched(Paid):
    """Says how many texts make a call."""

    batch_size: int = 2


@dataclass(frozen=True)
class Neighbourly(Paid):
    """Its vectors depend on what else is in the call."""

    row_exact: ClassVar[bool] = False
    calls: ClassVar[list[int]] = []

    def __call__(self, texts):
        self.calls.append(len(texts))
        vectors = super().__call__(texts).values + np.float32(1e-4 * len(texts))
        return Vectors(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def asked_of(texts):
    return list(texts.searched if isinstance(texts, Chunks) else texts.text)


def paid() -> list[str]:
    place = Path(os.environ[PAID])
    return place.read_text(encoding="utf-8").splitlines() if place.is_file() else []


def chunks_of(*texts: str) -> Chunks:
    rows = len(texts)
    bounds = np.zeros(rows, np.int64), np.array([len(text) for text in texts], np.int64)
    return Chunks(Strings.of(f"d{i}" for i in range(rows)), Strings.of([""] * rows), *bounds, Strings.of(texts))


def queries_of(*texts: str) -> Queries:
    return Queries(Strings.of(f"q{i}" for i in range(len(texts))), Strings.of(texts))


def embed(embedder, texts, store) -> np.ndarray:
    source = QUERY if isinstance(texts, Queries) else CORPUS
    return apply(Node(embedder, (source,)), [texts], store).value.values


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv(PAID, str(tmp_path / "paid"))
    Neighbourly.calls.clear()


@pytest.fixture
def entries(store):
    """A function that changes every entry of the store's journal by another function."""

    def change(how):
        with closing(sqlite3.connect(store.folder / "journal.sqlite")) as connection, connection:
            rows = connection.execute("SELECT key, entry FROM journal").fetchall()
            connection.executemany("UPDATE journal SET entry = ? WHERE key = ?", [(how(e), k) for k, e in rows])
        return len(rows)

    return change


# --- once


def test_a_text_is_embedded_once_within_a_table_and_across_tables(store):
    first = embed(Paid(), chunks_of("red apples", "green pears", "red apples"), store)
    second = embed(Paid(), chunks_of("blue plums", "green pears"), DiskStore(store.folder))
    assert paid() == ["Chunks 'red apples'", "Chunks 'green pears'", "Chunks 'blue plums'"]
    assert np.array_equal(first, HashedWords().encode(["red apples", "green pears", "red apples"]))
    assert np.array_equal(second, HashedWords().encode(["blue plums", "green pears"]))


def test_a_query_and_a_passage_of_one_text_are_two(store):
    embed(Paid(), chunks_of("red apples"), store)
    embed(Paid(), queries_of("red apples", "red apples"), store)
    assert paid() == ["Chunks 'red apples'", "Queries 'red apples'"]


def test_another_embedder_or_version_of_its_packages_finds_nothing(store, monkeypatch):
    embed(Paid(), chunks_of("red apples"), store)
    embed(Paid(dimensions=32), chunks_of("red apples"), store)
    monkeypatch.setattr(execution, "packages_of", lambda op: {"toys": "2"})
    embed(Paid(), chunks_of("red apples"), store)
    assert len(paid()) == 3


def test_the_title_that_retrievers_see_is_part_of_the_text(store):
    chunks = chunks_of("red apples")
    embed(Paid(), chunks, store)
    embed(Paid(), replace(chunks, title=Strings.of(["Fruit"])), store)
    assert paid() == ["Chunks 'red apples'", "Chunks 'Fruit red apples'"]


@pytest.mark.parametrize("blocks", [1, 5, 512])
def test_chunkers_corpora_and_blocks_share_what_was_embedded(tiny, store, monkeypatch, blocks):
    monkeypatch.setattr(scheduling, "CORPUS_BLOCK", blocks)
    monkeypatch.setattr(scheduling, "QUERY_BLOCK", blocks)
    chunkers = [pieces(8), pieces(16), FixedTokens(size=500), Whole(), Whole(titles=False)]
    variant = dense(retrieve=Dense(Paid()))
    run(Sweep(variant, {"chunk": chunkers}), tiny, ["MRR@10"], store=store)
    fewer = replace(tiny, documents=tiny.documents.take(range(0, 12, 2)))
    run(Sweep(variant, {"chunk": chunkers}), fewer, ["MRR@10"], store=store)
    asked = {f"Chunks {text!r}" for chunker in chunkers for text in chunker(tiny.documents).searched}
    asked |= {f"Queries {text!r}" for text in tiny.queries.text}
    assert Counter(paid()) == Counter(asked)


@dataclass(frozen=True)
class Slow(Paid):
    """Takes long enough that two calls at once would meet."""

    def __call__(self, texts):
        time.sleep(0.2)
        return super().__call__(texts)


def test_tables_that_are_worked_on_at_the_same_time_share_too(store):
    tables = [chunks_of("red", "green"), chunks_of("green", "blue"), chunks_of("blue", "red", "plums")]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda texts: embed(Slow(), texts, store), tables))
    assert Counter(paid()) == Counter(f"Chunks {text!r}" for text in ("red", "green", "blue", "plums"))


def test_no_texts_at_all_are_no_fault(store):
    assert embed(Paid(), chunks_of(), store).shape == (0, 64)


# --- the same numbers


@pytest.mark.parametrize("embedder", [Paid(), ONNX(precision="int8")], ids=["toy", "int8"])
def test_with_the_journal_full_half_full_or_none_the_vectors_are_the_same_to_the_bit(embedder, store):
    texts = ["red apples", "green pears fall", "", "blue plums grow in the harbour"]
    expected = embed(embedder, chunks_of(*texts), None)
    embed(embedder, chunks_of(*texts[1:3]), store)
    for _ in range(2):
        assert np.array_equal(embed(embedder, chunks_of(*texts), store), expected)


def test_results_are_the_same_with_and_without_the_journal(tiny, tmp_path, monkeypatch):
    found = []
    for journalled in (True, False):
        monkeypatch.setattr(Paid, "journalled", journalled)
        variant = Sweep(dense(retrieve=Dense(Paid())), {"chunk": [pieces(), Whole()]})
        found.append(run(variant, tiny, ["MRR@10"], store=DiskStore(tmp_path / str(journalled))).digest)
    assert found[0] == found[1]


def test_queries_of_an_embedder_that_is_not_row_exact_are_embedded_one_a_call(store):
    made = embed(Neighbourly(), queries_of("red", "green", "red", "blue"), store)
    assert Neighbourly.calls == [1, 1, 1]
    assert np.array_equal(made[1], embed(Neighbourly(), queries_of("green"), None)[0])
    embed(Neighbourly(), chunks_of("red", "green", "blue"), store)
    assert Neighbourly.calls[4:] == [3]


def test_the_first_vector_of_a_text_stays(store):
    first = embed(Neighbourly(), chunks_of("red", "green"), store)
    later = embed(Neighbourly(), chunks_of("blue", "red", "plums"), store)
    assert np.array_equal(later[1], first[0])
    assert Neighbourly.calls == [2, 2]


# --- kills, failures, damage


def test_what_was_embedded_before_a_failure_is_kept(store, monkeypatch):
    texts = chunks_of("red", "green", "blue", "plums", "pears")
    kept = Batched.__call__

    def fail(self, given):
        if "plums" in asked_of(given):
            raise RuntimeError("the quota is spent")
        return kept(self, given)

    monkeypatch.setattr(Batched, "__call__", fail)
    with pytest.raises(EvalkitError, match=r"embed \(Batched\): RuntimeError: the quota is spent"):
        embed(Batched(), texts, store)
    assert len(paid()) == 2
    monkeypatch.setattr(Batched, "__call__", kept)
    made = embed(Batched(), texts, DiskStore(store.folder))
    assert Counter(paid()) == Counter(f"Chunks {text!r}" for text in texts.searched)
    assert np.array_equal(made, HashedWords().encode(list(texts.searched)))


RUN = """
from test_embedding_journal import *
sweep = Sweep(dense(retrieve=Dense(Batched())), {"chunk": [Whole(), pieces(8)]})
from evalkit.testing import tiny_dataset
print(run(sweep, tiny_dataset(), ["MRR@10"], store=DiskStore("store")).digest)
"""


def test_after_a_kill_only_what_was_in_hand_is_embedded_again(tmp_path):
    def python(folder, **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), PAID: "paid", **changes}
        command = [sys.executable, "-c", RUN]
        done = subprocess.run(
            command, cwd=tmp_path / folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done, (tmp_path / folder / "paid").read_text(encoding="utf-8").splitlines()

    whole, everything = python("whole")
    assert whole.returncode == 0, whole.stderr
    assert set(Counter(everything).values()) == {1}
    killed, before = python("killed", **{KILL_AFTER: "11"})
    assert killed.returncode == -signal.SIGKILL
    again, after = python("killed")
    assert again.stdout == whole.stdout
    assert set(after) == set(everything)
    twice = Counter(text.split()[0] for text, times in Counter(after).items() if times > 1)
    assert len(before) >= 11
    assert twice.total() < len(before)
    assert max(twice.values(), default=0) <= 2  # a call of two texts a side may not have come back


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry[:-5],
        lambda entry: "[]",
        lambda entry: "{}",
        lambda entry: json.dumps({"float32": None}),
        lambda entry: json.dumps({"float32": "no base 64"}),
        lambda entry: json.dumps({"float32": json.loads(entry)["float32"][:40]}),
        lambda entry: json.dumps({"float32": base64.b64encode(b"\0" * 256).decode()}),
        lambda entry: json.dumps({"float32": base64.b64encode(b"\xff" * 256).decode()}),
    ],
    ids=["json", "list", "empty", "null", "base64", "short", "zeros", "nan"],
)
def test_a_damaged_entry_is_made_again(store, entries, damage):
    texts = chunks_of("red apples", "green pears", "blue plums")
    expected = embed(Paid(), texts, store)
    assert entries(damage) == 3
    assert np.array_equal(embed(Paid(), texts, DiskStore(store.folder)), expected)
    assert len(paid()) == 6


def test_one_damaged_entry_costs_that_text_alone(store, entries):
    texts = chunks_of("red apples", "green pears", "blue plums")
    expected = embed(Paid(), texts, store)
    spoilt = iter(["{}"])
    entries(lambda entry: next(spoilt, entry))
    assert np.array_equal(embed(Paid(), texts, DiskStore(store.folder)), expected)
    assert len(paid()) == 4


def test_documents_that_share_a_text_share_its_vector(store):
    data = small_dataset(documents={"d1": "red apples", "d2": "red apples", "d3": "green pears", "d4": "plums"})
    run(dense(retrieve=Dense(Paid())), data, ["MRR@10"], store=store)
    assert Counter(text for text in paid() if text.startswith("Chunks")).total() == 3
