from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import CALLS, Echo, calls, dense, hybrid, keywords, small_dataset

from evalkit import InputError, Service, Traffic, replay
from evalkit.calls import Call, CallFailed
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival, Cache, ClosedLoop
from evalkit.values import Answer, Prompt


def unit(stage: str, took: float) -> float:
    return 1.0


def asked(n: int) -> list[Arrival]:
    texts = ["red apples", "pears fall", "blue plums"]
    return [Arrival(texts[i % 3], user=f"u{i}") for i in range(n)]


@dataclass(frozen=True)
class Breaks:
    """A generator whose call breaks for one question."""

    on: str

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.sleep(2.0)
        if prompt.question == self.on:
            raise CallFailed("Breaks: no answer; ask again", Call("m", stop="529 overloaded_error", complete=False))
        return Answer("yes")


# closed loop


def test_a_closed_loop_keeps_at_most_so_many_under_way_and_asks_all(store):
    # three seconds of work each on three cores: two users ask three times each
    found = replay(
        keywords(), small_dataset(), ClosedLoop(asked(6), users=2), cores=3, cost=unit, store=store
    ).per_request
    assert found["arrived"].tolist() == [0, 0, 3, 3, 6, 6]
    assert found["ended"].tolist() == [3, 3, 6, 6, 9, 9]
    assert found["user"].tolist() == [f"u{i}" for i in range(6)]


@given(st.integers(1, 5), st.integers(1, 12), st.floats(0, 20), st.integers(0, 9))
@settings(max_examples=25)
def test_users_think_between_answer_and_question(shared_store, users, requests, think, seed):
    loop = ClosedLoop(asked(requests), users=users, think=think, seed=seed)
    found = replay(keywords(), small_dataset(), loop, cores=users, cost=unit, store=shared_store).per_request
    assert len(found) == requests
    assert (found["ms"] > 2999.999).all()
    inside = [sum((found["arrived"] <= t) & (found["ended"] > t + 1e-6)) for t in found["arrived"]]
    assert max(inside) <= users
    again = replay(keywords(), small_dataset(), loop, cores=users, cost=unit, store=shared_store).per_request
    assert found.equals(again)


@pytest.mark.parametrize("wrong", [{"users": 0}, {"think": -1.0}, {"think": float("inf")}])
def test_a_loop_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match=r"^ClosedLoop: users must be at least 1 and think at least 0"):
        ClosedLoop(asked(1), **wrong)


# users who leave, calls that fail


def test_a_user_who_leaves_ends_the_request_and_the_others_go_on(store, monkeypatch, tmp_path):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    arrivals = [Arrival("red apples", patience=1.5), Arrival("pears fall")]
    found = replay(keywords(), small_dataset(), arrivals, cores=2, cost=unit, store=store).per_request
    assert found["outcome"].tolist() == ["abandoned", "answered"]
    assert found["ended"].tolist() == [1.5, 3.0]
    assert found["reason"].tolist() == ["no answer in 1.5 s", ""]
    assert calls() == ["pears fall"]


def test_patience_given_to_a_replay_is_everyones_who_states_none(store):
    arrivals = [Arrival("red apples", patience=10), Arrival("pears fall", at=50)]
    found = replay(keywords(), small_dataset(), arrivals, cost=unit, patience=2, store=store).per_request
    assert found["outcome"].tolist() == ["answered", "abandoned"]


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_a_call_that_fails_is_an_outcome_and_not_an_error_of_the_service(store, clock):
    variant = dense(retrieve=keywords().retrieve, generate=Breaks("pears fall"))
    patient = {"cost": unit} if clock == "virtual" else {}
    arrivals = [Arrival("red apples"), Arrival("pears fall")]
    found = replay(variant, small_dataset(), arrivals, clock=clock, store=store, **patient)
    assert found.per_request["outcome"].tolist() == ["answered", "failed"]
    assert found.per_request["reason"].tolist() == ["", "529 overloaded_error"]
    assert found.per_request["answer"].tolist() == ["yes", ""]
    assert [len(o.calls) for o in found.outcomes] == [0, 1]


# what is asked before


def test_what_is_asked_before_fills_caches_and_is_in_no_row(store):
    service = Service(keywords(), (Cache(),))
    found = replay(service, small_dataset(), asked(3), cost=unit, warm=[Arrival("red apples")], store=store)
    assert found.per_request["cache[answer]"].tolist() == ["hit", "miss", "miss"]
    assert found.per_request["arrived"].tolist() == [0, 0, 0]
    assert found.per_request["ms"].tolist()[0] == 0


# a corpus that changes


def test_a_document_is_found_from_its_ingestion_on_and_not_after_it_went(tiny, store):
    target = next(iter(tiny.qrels.items()))
    question = tiny.queries.text[list(tiny.queries.id).index(target[0])]
    document = max(target[1], key=target[1].get)
    events = (Ingestion(100.0, (document,)), Ingestion(200.0, (), (document,)))
    arrivals = [Arrival(question, at=t) for t in (0.0, 99.0, 100.5, 150.0, 200.5)]
    found = replay(dense(), tiny, arrivals, cost=unit, cores=4, events=events, store=store)
    cited = [document in next(iter(o.answers.cited)) for o in found.outcomes]
    assert cited == [False, False, True, True, False]


def test_a_request_keeps_the_corpus_that_it_began_with(tiny, store):
    target = next(iter(tiny.qrels.items()))
    question = tiny.queries.text[list(tiny.queries.id).index(target[0])]
    document = max(target[1], key=target[1].get)
    found = replay(
        dense(), tiny, [Arrival(question)], cost=unit, events=(Ingestion(0.5, (), (document,)),), store=store
    )
    assert document in next(iter(found.outcomes[0].answers.cited))


def test_the_corpus_after_all_events_answers_as_evaluate_does_on_those_documents(tiny, store):
    first = tiny.documents.id[0]
    events = (Ingestion(1.0, (first,)),)
    late = [Arrival(text, at=10.0 + i) for i, text in enumerate(tiny.queries.text)]
    given_late = replay(hybrid(), tiny, late, events=events, store=store).per_request["answer"].tolist()
    assert given_late == replay(hybrid(), tiny, late, store=store).per_request["answer"].tolist()


def test_an_event_of_an_unknown_document_is_refused(tiny, store):
    with pytest.raises(InputError, match=r"^replay: an event names the unknown document 'nothing'$"):
        replay(dense(), tiny, cost=unit, events=(Ingestion(1.0, ("nothing",)),), store=store)


# branches


def test_branches_are_worked_on_at_once_where_the_service_says_so_and_cores_allow_it(tiny, store):
    question = [Arrival(tiny.queries.text[0])]
    # embed, search twice, fuse, assemble, generate: the keyword search beside the embedding
    for side_by_side, cores, expected in ((False, 2, 6000), (True, 2, 5000), (True, 1, 6000)):
        service = Service(hybrid(), side_by_side=side_by_side)
        found = replay(service, tiny, question, cores=cores, cost=unit, store=store).per_request
        assert found["ms"].tolist() == [expected]
    assert len({Service(hybrid(), side_by_side=s).fingerprint for s in (True, False)}) == 2


# where traffic comes from


def test_a_data_sets_own_traffic_is_replayed_with_its_labels(store):
    rows = [
        {
            "at": 5.0,
            "text": "pears fall",
            "user": "b",
            "tenant": "t",
            "intent": "fee!0",
            "answer": "two",
            "kind": "trap",
        },
        {"at": 1.0, "text": "red apples", "user": "a", "conversation": "c"},
    ]
    found = replay(keywords(), small_dataset(), Traffic.of(rows), cost=unit, store=store)
    assert found.per_request["arrived"].tolist() == [1.0, 5.0]
    assert [(o.arrival.user, o.arrival.conversation, o.arrival.intent) for o in found.outcomes] == [
        ("a", "c", ""),
        ("b", "", "fee!0"),
    ]


def test_costs_by_stage_and_by_profile_are_the_times_that_work_takes(store):
    by_stage = replay(keywords(), small_dataset(), asked(1), cost={"search": 2.0, "generate": 5.0}, store=store)
    assert by_stage.per_request["ms"].tolist() == [7000]
    roadmap = replay(dense(), small_dataset(), asked(1), cost="roadmap", store=store)
    assert roadmap.per_request["ms"].tolist() == pytest.approx([300])  # embed 100, search 150, assemble 50
    with pytest.raises(InputError, match=r"^replay: no latency profile 'roadmop'; "):
        replay(dense(), small_dataset(), asked(1), cost="roadmop", store=store)


def test_work_of_a_stated_time_is_done_once_for_equal_inputs_and_costs_every_time(store, monkeypatch, tmp_path):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    found = replay(dense(generate=Echo(cost=1.0)), small_dataset(), [Arrival("x", at=10.0 * i) for i in range(3)],
                   cost=unit, store=store)  # fmt: skip
    assert found.per_request["ms"].tolist() == [5000] * 3
    assert len(calls()) == 3  # a generator is asked each time: what it says is its own


def test_nothing_is_left_running_when_traffic_ends_early(store):
    async def notebook() -> int:
        replay(keywords(), small_dataset(), [Arrival("red apples", patience=0.5)], cost=unit, store=store)
        return len(asyncio.all_tasks())

    assert asyncio.run(notebook()) == 1
