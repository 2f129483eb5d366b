"""Strategies side by side: the same rankings as one after another, and any of them may fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote
from urllib.request import urlopen

import numpy as np
import pytest
from toys import HashedWords, dense

from evalkit import EvalkitError, replay, run
from evalkit.errors import InputError
from evalkit.evaluate.apply import apply
from evalkit.forms import Reader, build, plain
from evalkit.machine import packages_of
from evalkit.memo import forgotten, remembered
from evalkit.spec import names
from evalkit.stages import (
    BM25,
    RRF,
    Custom,
    Dense,
    Hybrid,
    KeywordsOnly,
    MinMax,
    MultiQuery,
    SideBySide,
    Whole,
)
from evalkit.stages.retrieve import attempts
from evalkit.stages.retrieve.fusing import Fuse
from evalkit.testing import check_component, check_retriever, tiny_dataset
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node, Partial, Retriever
from evalkit.values import Rankings

DENSE, SPARSE = Dense(HashedWords(), k=8), BM25(k=8)
started = threading.Semaphore(0)
"""Released by every `Blocked` search that has begun."""
gate = threading.Event()
"""Lets all `Blocked` searches go on."""


@dataclass(frozen=True)
class Own:
    """A retriever that is one op on chunks and queries."""

    search: Search

    def expand(self, chunks, query):
        return Node(self.search, (chunks, query))


@dataclass(frozen=True)
class Search:
    """Finds the last chunk."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, chunks, queries):
        for text in queries.text:
            self.meet(text)
        last = np.array([len(chunks) - 1], np.int32)
        return Rankings.of([last] * len(queries), [np.ones(1)] * len(queries))

    def meet(self, text):
        pass


@dataclass(frozen=True)
class Fails(Search):
    """Cannot, where the question holds some text."""

    on: str = ""

    def meet(self, text):
        if self.on in text:
            raise ConnectionError("the index\nis away")


@dataclass(frozen=True)
class Dies(Search):
    """Ends its thread."""

    def meet(self, text):
        raise SystemExit


@dataclass(frozen=True)
class Lists(Search):
    """Gives something else than a ranking."""

    def __call__(self, chunks, queries):
        return [len(chunks) - 1]


@dataclass(frozen=True)
class Blocked(Search):
    """Goes on when the gate opens."""

    def meet(self, text):
        started.release()
        assert gate.wait(30)


@dataclass(frozen=True)
class Together(Search):
    """Goes on when as many searches as the barrier has places are at work at once."""

    barrier: ClassVar[threading.Barrier] = threading.Barrier(3)

    number: int = 0

    def meet(self, text):
        self.barrier.wait(30)


@dataclass(frozen=True)
class Half(Search):
    """Gives what it has, and says that something is missing."""

    def __call__(self, chunks, queries):
        raise Partial(super().__call__(chunks, queries), "half is missing")


def given(rows=slice(None)):
    data = tiny_dataset()
    return {
        CORPUS.recipe: Whole()(data.documents),
        QUERY.recipe: data.queries.take(np.arange(len(data.queries))[rows]),
    }


def found(retriever, rows=slice(None)):
    """A retriever's rankings, and the notes of what was missing."""
    known = given(rows)
    top = retriever.expand(CORPUS, QUERY)
    for node in top.walk():
        if node.recipe not in known:
            applied = apply(node, [known[parent.recipe] for parent in node.inputs])
            known[node.recipe] = applied.value
    return known[top.recipe], applied.missing


@pytest.fixture
def open_gate():
    gate.clear()
    yield
    gate.set()
    deadline = time.monotonic() + 30
    while any(t.name.startswith("evalkit-Own") and t.is_alive() for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    gate.clear()


@pytest.mark.parametrize(
    ("retrievers", "weights", "fusion"),
    [
        ((DENSE, SPARSE), (), RRF()),
        ((DENSE, SPARSE, Own(Search())), (0.5, 0.0, 2.0), MinMax()),
        ((MultiQuery(DENSE, (KeywordsOnly(),)), SPARSE, Hybrid(DENSE, SPARSE)), (1, 2, 3), RRF(c=0)),
        ((SPARSE,), (), RRF()),
    ],
    ids=["two", "weighted", "composed", "one"],
)
def test_side_by_side_finds_what_one_after_another_finds(retrievers, weights, fusion):
    rankings, missing = found(SideBySide(retrievers, fusion, weights, k=6))
    own = [run_node(retriever.expand(CORPUS, QUERY), given()) for retriever in retrievers]
    shares = tuple(map(float, weights)) or (1 / len(own),) * len(own)
    assert rankings.digest == Fuse(fusion, shares, 6)(*own).digest
    assert missing == []


def test_two_retrievers_of_equal_weight_are_a_hybrid_of_alpha_one_half():
    rankings, _ = found(SideBySide((DENSE, SPARSE), k=6))
    assert rankings.digest == run_node(Hybrid(DENSE, SPARSE, 0.5, k=6).expand(CORPUS, QUERY), given()).digest


def test_the_corpus_side_is_shared_with_the_retrievers_alone():
    side = {n.recipe for n in SideBySide((DENSE, SPARSE)).expand(CORPUS, QUERY).walk() if not n.per_query}
    alone = {n.recipe for r in (DENSE, SPARSE) for n in r.expand(CORPUS, QUERY).walk() if not n.per_query}
    assert side == alone


def test_all_strategies_are_at_work_at_once():
    rankings, missing = found(SideBySide(tuple(Own(Together(number=i)) for i in range(3))), slice(0, 3))
    assert missing == []  # the barrier would not have opened for one after another
    assert [items.tolist() for items in rankings.items] == [[11]] * 3


def test_one_that_always_fails_is_survived_and_told_of():
    rankings, missing = found(SideBySide((DENSE, Own(Fails()), SPARSE)))
    rest, _ = found(SideBySide((DENSE, SPARSE)))
    assert [items.tolist() for items in rankings.items] == [items.tolist() for items in rest.items]
    assert set(missing) == {"SearchSideBySide: Own failed: ConnectionError: the index is away"}
    assert len(missing) == len(rankings)


def test_one_that_sometimes_fails_counts_where_it_does_not():
    rankings, missing = found(SideBySide((SPARSE, Own(Fails("ferry"))), k=20))
    texts = given()[QUERY.recipe].text
    failed = ["ferry" in text for text in texts]
    assert len(missing) == sum(failed) == 1
    both, _ = found(SideBySide((SPARSE, Own(Search())), k=20))
    alone, _ = found(SideBySide((SPARSE, Own(Search())), weights=(0.5, 0), k=20))
    for i, without in enumerate(failed):
        assert rankings.row(i).digest == (alone if without else both).row(i).digest
        assert alone.row(i).digest != both.row(i).digest


def test_a_strategy_that_ends_its_thread_has_failed():
    _, missing = found(SideBySide((SPARSE, Own(Dies()))), slice(0, 1))
    assert missing == ["SearchSideBySide: Own failed: SystemExit"]


def test_a_strategy_that_gives_no_ranking_has_failed_and_the_rest_counts():
    rankings, missing = found(SideBySide((SPARSE, Own(Lists()))), slice(0, 1))
    rest, _ = found(SideBySide((SPARSE,)), slice(0, 1))
    assert rankings.items[0].tolist() == rest.items[0].tolist()
    assert missing == ["SearchSideBySide: Own failed: TypeError: list is not the ranking of one query"]


def test_all_failed_is_an_error_that_names_each_and_the_query():
    with pytest.raises(EvalkitError) as caught:
        found(SideBySide((Own(Fails()), SideBySide((Own(Dies()),)), Own(Fails("What")))), slice(0, 1))
    asked = "for the query 'What does an adult pay for a return ticket in 2025?'"
    assert str(caught.value) == (
        f"SideBySide: every strategy failed {asked}: Own 1: ConnectionError: the index is away; SideBySide: "
        f"SideBySide: every strategy failed {asked}: Own: SystemExit; Own 2: ConnectionError: the index is away"
    )


def test_a_partial_result_of_a_strategy_is_used_and_told_of():
    rankings, missing = found(SideBySide((Own(Half()), SPARSE), weights=(1, 0)), slice(0, 1))
    assert rankings.items[0].tolist() == [11]
    assert missing == ["SearchSideBySide: half is missing"]
    _, missing = found(SideBySide((SideBySide((Own(Fails()), DENSE)), SPARSE)), slice(0, 1))
    assert missing == ["SearchSideBySide: Own failed: ConnectionError: the index is away"]


@pytest.mark.usefixtures("open_gate")
def test_one_that_does_not_answer_in_time_has_failed():
    rankings, missing = found(SideBySide((SPARSE, Own(Blocked())), timeout=2), slice(0, 1))
    assert missing == ["SearchSideBySide: Own failed: no answer within 2 s"]
    assert rankings.digest == found(SideBySide((SPARSE,), weights=(0.5,)), slice(0, 1))[0].digest


def test_within_its_time_a_strategy_counts():
    gate.set()
    assert found(SideBySide((SPARSE, Own(Blocked())), timeout=30), slice(0, 1))[1] == []


@pytest.mark.usefixtures("open_gate")
def test_a_strategy_that_leaves_eight_queries_behind_is_not_asked_until_it_answers():
    side = SideBySide((Own(Blocked()),), timeout=0.01)
    while started.acquire(blocking=False):
        pass
    for _ in range(8):
        with pytest.raises(EvalkitError, match=r"Own: no answer within 0\.01 s"):
            found(side, slice(0, 1))
    with pytest.raises(EvalkitError, match="Own: 8 earlier queries still wait for its answer"):
        found(side, slice(0, 1))
    assert [started.acquire(timeout=30) for _ in range(8)] == [True] * 8
    assert not started.acquire(blocking=False)
    gate.set()
    deadline = time.monotonic() + 30
    while +attempts.Attempt._left_behind:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found(SideBySide((Own(Blocked()),), timeout=30), slice(0, 1))[1] == []


def test_a_strategy_that_hangs_does_not_keep_a_process_from_ending():
    code = """
from test_side_by_side import *
import toys
class Sleeps(Search):
    def meet(self, text):
        time.sleep(600)
rankings, missing = found(SideBySide((SPARSE, Own(Sleeps())), timeout=2), slice(0, 1))
print(missing)
"""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{here}:{here.parent}:{here.parents[1]}", "EVALKIT_STORE": "store"},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "['SearchSideBySide: Own failed: no answer within 2 s']\n"


calls = []


@remembered(8)
def answer(text):
    calls.append(text)
    return 1


@dataclass(frozen=True)
class Remembers(Search):
    """Asks a function that remembers."""

    def meet(self, text):
        answer(text)


def test_what_is_not_to_be_remembered_while_timing_is_not_in_the_threads_either():
    side = SideBySide((Own(Remembers()),))
    calls.clear()
    for _ in range(2):
        found(side, slice(0, 1))
    assert len(calls) == 1
    with forgotten():
        found(side, slice(0, 1))
    assert len(calls) == 2


def hits(text):
    return ["dogs", "cafe"]


def test_what_it_rests_on_is_what_its_strategies_rest_on():
    def op(*retrievers):
        return SideBySide(retrievers).expand(CORPUS, QUERY).op

    assert set(packages_of(op(DENSE, SPARSE))) == {"faiss-cpu", "bm25s", "PyStemmer"}
    assert op(DENSE, SPARSE).stored
    assert op(DENSE, Custom(hits, version="1")).stored
    assert not op(DENSE, Custom(hits)).stored


def test_a_new_version_of_a_strategys_op_is_another_result(monkeypatch):
    before = SideBySide((SPARSE,)).expand(CORPUS, QUERY)
    assert before.recipe == SideBySide((SPARSE,)).expand(CORPUS, QUERY).recipe
    monkeypatch.setattr(type(SPARSE.expand(CORPUS, QUERY).op), "version", 99)
    after = SideBySide((SPARSE,)).expand(CORPUS, QUERY)
    assert before.recipe != after.recipe
    assert before.inputs == after.inputs


def test_over_rewritten_queries_only_the_search_is_inside():
    rewritten = Node(KeywordsOnly(), (QUERY,))
    top = SideBySide((DENSE, SPARSE)).expand(CORPUS, rewritten)
    assert rewritten in top.inputs
    assert [len(strategy.steps) for strategy in top.op.strategies] == [2, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SideBySide(()), "SideBySide: no retrievers; give at least one"),
        (lambda: SideBySide(weights=(1,)), r"SideBySide: weights \(1,\) do not fit; give 2, each at least 0"),
        (lambda: SideBySide(weights=(1, "2")), r"SideBySide: weights \(1, '2'\) do not fit"),
        (lambda: SideBySide(weights=(0, 0)), r"SideBySide: weights \(0, 0\) do not fit"),
        (lambda: SideBySide(weights=(1, -1)), r"SideBySide: weights \(1, -1\) do not fit"),
        (lambda: SideBySide(timeout=0), "SideBySide: timeout is 0; give seconds above 0, or nothing"),
        (lambda: SideBySide(timeout=float("nan")), "SideBySide: timeout is nan"),
        (lambda: SideBySide(k=0), "SideBySide: k is 0; it must be at least 1"),
    ],
)
def test_parameters_outside_their_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_side_by_side_is_a_value_and_conforms():
    side = SideBySide((DENSE, SPARSE), MinMax(), (1.0, 2.0), timeout=60.0, k=5)
    check_component(SideBySide(), others={"retrievers": (BM25(),), "weights": (1.0, 2.0)})
    check_retriever(side)
    reader = Reader({**names(), "HashedWords": HashedWords})
    assert build(json.loads(json.dumps(plain(side))), Retriever, reader) == side


class Slow(BaseHTTPRequestHandler):
    """Finds one document for every question, after a while; at those about tickets it hangs up."""

    def do_GET(self):
        time.sleep(0.02)
        if "ticket" not in unquote(self.path):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps([{"id": "dogs", "score": 0.5}]).encode())

    def log_message(self, *about):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def test_a_run_with_a_server_that_fails_now_and_then_ends_and_says_what_was_missing(server, tiny, store):
    def fetch(text):
        with urlopen(f"{server}/{quote(text)}", timeout=30) as reply:  # noqa: S310 - loopback
            return json.load(reply)

    side = SideBySide((DENSE, Custom(fetch, version="1", name="far index"), SPARSE), weights=(1, 9, 1), k=3)
    variant = dense(retrieve=side)
    for _ in range(2):  # a result without all parts is not read back: the second run tells of it too
        results = run(variant, tiny, ["nDCG@3"], store=store)
        (note,) = results.manifest["incomplete"]
        assert note.startswith("SearchSideBySide: far index failed: search by far index, query 'What does an adult")
        assert note.endswith("RemoteDisconnected: Remote end closed connection without response")
        assert results.manifest["incomplete"][note] == 1
    values = results.per_query.query("metric == 'nDCG@3'").set_index("query")["value"]
    assert values["q4"] > 0.6  # dogs, which the server knows, are judged there
    replayed = replay(variant, tiny, store=store)
    assert len(replayed.per_request) == len(tiny.queries)
