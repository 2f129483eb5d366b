from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Fails, HashedWords, dense, small_dataset

from evalkit import EvalkitError, InputError, Service, replay
from evalkit.serving import Arrival, Cache
from evalkit.serving.layers.micro_batch import MicroBatch
from evalkit.stages import Dense
from evalkit.values import Chunks, Queries, Vectors

SECONDS = {"embed": 0.05, "search": 0.1, "assemble": 0.01}
QUESTIONS = ("red apples", "pears fall", "who judges plums", "xylophone", "green pears", "blue")
sizes: list[int] = []


@dataclass(frozen=True)
class Counting(HashedWords):
    """Says how many questions each call had."""

    version: ClassVar[int] = 1

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        if isinstance(texts, Queries):
            sizes.append(len(texts))
        return super().__call__(texts)


@dataclass(frozen=True)
class Inexact(Counting):
    """An embedder whose vectors depend on the batch, as torch's do."""

    version: ClassVar[int] = 1
    row_exact: ClassVar[bool] = False


@pytest.fixture(autouse=True)
def _fresh():
    sizes.clear()


def served(layers, store, arrivals, embedder=None, **changes):
    variant = dense(retrieve=Dense(Counting() if embedder is None else embedder, k=3))
    given_ = {"cost": SECONDS, "cores": 8, **changes}
    return replay(Service(variant, layers), small_dataset(), arrivals, store=store, **given_)


def at(*times, texts=QUESTIONS) -> list[Arrival]:
    return [Arrival(texts[i % len(texts)], at=float(t)) for i, t in enumerate(times)]


def test_a_lone_request_goes_out_after_the_wait(store):
    found = served((MicroBatch(wait=0.5),), store, at(0, 10)).per_request
    assert found["ms"].tolist() == pytest.approx([660, 660])
    assert found["batch[embed]"].tolist() == [1, 1]
    assert found["batch_wait[embed]"].tolist() == pytest.approx([0.5, 0.5])


def test_a_full_batch_goes_out_at_once_and_in_one_call(store):
    found = served((MicroBatch(size=3, wait=0.5),), store, at(0, 0.1, 0.2, 0.3)).per_request
    assert sizes == [3, 1]
    assert found["ms"].tolist() == pytest.approx([360, 260, 160, 660])
    assert found["batch[embed]"].tolist() == [3, 3, 3, 1]


@pytest.mark.parametrize("place", ["embed", "generate"])
@given(
    times=st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.2, 0.5, 1.5]), min_size=1, max_size=14),
    size=st.integers(1, 5),
    wait=st.sampled_from([0.0, 0.05, 0.5]),
)
@settings(max_examples=20)
def test_no_answer_changes_and_no_request_waits_longer_than_the_wait(shared_store, place, times, size, wait):
    arrivals, now = [], 0.0
    for i, gap in enumerate(times):
        now += gap
        arrivals.append(Arrival(QUESTIONS[i % len(QUESTIONS)], at=now))
    alone = served((), shared_store, arrivals).per_request
    found = served((MicroBatch(place, size=size, wait=wait, timeout=None),), shared_store, arrivals).per_request
    assert found["answer"].tolist() == alone["answer"].tolist()
    assert (found[f"batch_wait[{place}]"] <= wait + 1e-9).all()
    assert found[f"batch[{place}]"].between(1, size).all()
    # a batch is as often told of as it has requests
    assert sum(1 / n for n in found[f"batch[{place}]"]) == pytest.approx(
        round(sum(1 / n for n in found[f"batch[{place}]"]))
    )


def test_vectors_of_a_batch_are_those_of_each_question_alone_to_the_bit():
    embedder = Counting()
    table = Queries.concat([_question(text) for text in QUESTIONS])
    together = embedder(table).values
    assert all((together[i] == embedder(_question(text)).values[0]).all() for i, text in enumerate(QUESTIONS))


def _question(text: str) -> Queries:
    from evalkit.columns import Strings

    return Queries(Strings.of([""]), Strings.of([text]))


def test_an_embedder_that_depends_on_its_batch_is_asked_one_by_one(store):
    found = served((MicroBatch(size=3, wait=0.5),), store, at(0, 0, 0), Inexact()).per_request
    assert sizes == [1, 1, 1]
    assert found["batch[embed]"].tolist() == [3, 3, 3]


def test_a_layer_behind_the_batcher_is_asked_for_every_request(store):
    layers = (MicroBatch(size=2, wait=0.5), Cache(at="embed"))
    found = served(layers, store, at(0, 0, 5, 5, texts=("red apples", "pears fall")))
    assert sizes == [1, 1]
    assert found.per_request["batch[embed]"].tolist() == [2] * 4


def test_work_is_booked_to_every_request_of_its_batch(store):
    found = served((MicroBatch(size=2, wait=0.5),), store, at(0, 0.1))
    events = [[e for e in outcome.events if e.name == "embed"] for outcome in found.outcomes]
    assert events[0] == events[1]
    assert events[0][0].end - events[0][0].start == pytest.approx(0.05)


@dataclass(frozen=True)
class NoQuestions(HashedWords):
    """An embedder that embeds documents alone."""

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        if isinstance(texts, Queries):
            raise RuntimeError("no memory left")
        return super().__call__(texts)


@pytest.mark.parametrize(
    ("place", "variant", "what"),
    [
        ("embed", dense(retrieve=Dense(NoQuestions())), "embed (NoQuestions): RuntimeError: no memory left"),
        ("generate", dense(generate=Fails()), "generate (Fails): RuntimeError: the quota is spent"),
    ],
)
def test_an_error_reaches_every_caller(store, caplog, place, variant, what):
    service = Service(variant, (_Caught(), MicroBatch(place, size=3)))
    found = replay(service, small_dataset(), at(0, 0, 0), cost=SECONDS, store=store).per_request
    assert found["caught"].tolist() == [what] * 3
    assert not caplog.records


@dataclass(frozen=True)
class _Caught:
    """Writes an error down and answers."""

    at: str = "answer"

    def start(self, serving: Any) -> Any:
        from evalkit.values import Answer

        async def handle(request: Any, go_on: Any) -> Any:
            try:
                return await go_on(request)
            except EvalkitError as error:
                request.note("caught", str(error))
                return Answer.table([Answer("none")])

        return handle


def test_a_user_who_leaves_holds_nobody_up_and_a_batch_of_nobody_is_never_worked_on(store, caplog):
    arrivals = [
        Arrival("red apples", patience=0.2),
        Arrival("pears fall", at=0.1),
        Arrival("blue", at=9, patience=0.1),
    ]
    with caplog.at_level(logging.ERROR):
        found = served((MicroBatch(size=3, wait=0.5),), store, arrivals).per_request
    assert found["outcome"].tolist() == ["abandoned", "answered", "abandoned"]
    assert sizes == [1]
    # from the first one's coming on, though that one left
    assert found["ms"][1] == pytest.approx(1000 * (0.4 + 0.16))
    assert not caplog.records


def test_all_who_leave_while_their_batch_is_worked_on_leave_nothing_behind(store, caplog):
    arrivals = [Arrival(text, patience=0.02) for text in QUESTIONS[:3]]
    with caplog.at_level(logging.ERROR):
        found = served((MicroBatch(size=3),), store, arrivals).per_request
    assert found["outcome"].tolist() == ["abandoned"] * 3
    assert not caplog.records


def test_what_takes_too_long_is_refused(store):
    found = served((MicroBatch(wait=0.5, timeout=0.52),), store, at(0)).per_request
    assert found["outcome"].tolist() == ["refused"]
    assert found["reason"].tolist() == ["MicroBatch: timed out"]
    assert found["ms"].tolist() == pytest.approx([520])


@pytest.mark.parametrize("wrong", [{"at": "answer"}, {"size": 0}, {"wait": -1}, {"timeout": 0}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(InputError, match="MicroBatch: "):
        MicroBatch(**wrong)
