from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obedient import calls, served

from evalkit import InputError
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival, Cache, Refused
from evalkit.serving.layers.coalesce import Coalesce

SLOW = "red apples 10s"


def column(found: Any, name: str) -> list[Any]:
    return found.per_request[name].fillna("").tolist()


def test_concurrent_identical_misses_call_the_model_once_and_all_get_its_answer(store):
    found = served(store, [Cache(), Coalesce()], *(Arrival(SLOW, at=float(t)) for t in (0, 3, 9, 12)))
    assert len(calls(found)) == 1
    assert column(found, "coalesce[answer]") == ["led", "followed", "followed", ""]
    assert column(found, "followers[answer]") == [2, "", "", ""]
    assert column(found, "ms") == [10_000, 7_000, 1_000, 0]
    assert column(found, "made_by") == ["", "0", "0", "0"]
    assert column(found, "hit") == ["", "Coalesce", "Coalesce", "cache"]
    assert len(set(column(found, "answer"))) == 1


def test_without_it_each_of_them_calls(store):
    assert len(calls(served(store, [Cache()], *[Arrival(SLOW)] * 3))) == 3


def test_what_is_not_the_same_is_not_shared(store):
    others = [Arrival(SLOW), Arrival(SLOW, tenant="a"), Arrival("red 10s"), Arrival("Red Apples  10s")]
    found = served(store, [Coalesce()], *others)
    assert column(found, "coalesce[answer]") == ["led", "led", "led", "followed"]


def test_requests_that_began_with_different_documents_are_not_one(store):
    events = (Ingestion(5, (), ("d1",)),)
    found = served(store, [Coalesce()], Arrival(SLOW), Arrival(SLOW, at=6), Arrival(SLOW, at=7), events=events)
    assert column(found, "coalesce[answer]") == ["led", "led", "followed"]
    assert [tuple(o.answers.cited[0]) for o in found.outcomes] == [("d1",), ("d3",), ("d3",)]


def test_if_the_leader_fails_so_do_those_who_wait_and_the_next_one_tries_again(store):
    text = "red 10s fails=1"
    found = served(store, [Coalesce()], Arrival(text), Arrival(text, at=5), Arrival(text, at=11))
    assert column(found, "outcome") == ["failed"] * 3
    assert [start for start, _, _ in calls(found)] == [0, 11]
    assert column(found, "ended") == [10, 10, 21]


def test_if_the_leader_leaves_one_who_waits_leads_and_none_is_lost(store):
    asked = [Arrival(SLOW, patience=2), Arrival(SLOW, at=1), Arrival(SLOW, at=1.5)]
    found = served(store, [Coalesce()], *asked)
    assert column(found, "outcome") == ["abandoned", "answered", "answered"]
    assert column(found, "coalesce[answer]") == ["led", "led", "followed"]
    assert column(found, "ended") == [2, 12, 12]
    assert column(found, "made_by") == ["", "", "1"]


def test_one_who_waits_may_leave_and_the_others_do_not_notice(store):
    asked = [Arrival(SLOW), Arrival(SLOW, at=1, patience=2), Arrival(SLOW, at=2)]
    found = served(store, [Coalesce()], *asked)
    assert column(found, "outcome") == ["answered", "abandoned", "answered"]
    assert column(found, "followers[answer]") == [1, "", ""]
    assert len(calls(found)) == 1


def test_if_all_leave_at_once_the_next_one_begins_anew(store):
    found = served(store, [Coalesce()], *[Arrival(SLOW, patience=2)] * 3, Arrival(SLOW, at=4))
    assert column(found, "outcome") == ["abandoned"] * 3 + ["answered"]
    assert column(found, "ended") == [2, 2, 2, 14]


@dataclass(frozen=True)
class FirstIsRefused:
    """Turns away, after a second, the user who has no right."""

    at: str = "answer"

    def start(self, serving: Any) -> Any:
        async def handle(request: Any, go_on: Any) -> Any:
            await request.clock.sleep(1)
            if request.user == "nobody":
                raise Refused("FirstIsRefused", "over the rate")
            return await go_on(request)

        return handle


def test_a_refusal_is_the_leaders_own_and_the_next_one_leads(store):
    asked = [Arrival(SLOW, user="nobody"), Arrival(SLOW, user="a"), Arrival(SLOW, user="b")]
    found = served(store, [Coalesce(), FirstIsRefused()], *asked)
    assert column(found, "outcome") == ["refused", "answered", "answered"]
    assert len(calls(found)) == 1


@pytest.mark.parametrize(("at", "spared"), [("retrieve", "search"), ("prompt", "assemble")])
def test_it_shares_the_work_of_any_place(store, at, spared):
    cost = {"search": 1.0, "assemble": 1.0}
    found = served(store, [Coalesce(at)], *[Arrival("red apples")] * 3, cost=cost, cores=3)
    done = [event.name for outcome in found.outcomes for event in outcome.events if event.kind == "work"]
    assert done.count(spared) == 1
    assert len(calls(found)) == 3
    assert all("made_by" not in outcome.notes for outcome in found.outcomes)


def test_an_answer_that_many_waited_for_is_written_once(store):
    found = served(store, [Cache(write="before"), Coalesce()], *[Arrival(SLOW)] * 4, Arrival(SLOW, at=20))
    assert column(found, "made_by") == ["", "0", "0", "0", "0"]
    assert column(found, "cache[answer] age")[-1] == 10


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["red 4s", "pears 7s"]), st.none() | st.integers(1, 9)),
        min_size=2,
        max_size=10,
    )
)
@settings(max_examples=60)
def test_whoever_leaves_everyone_else_is_answered_and_no_two_calls_of_one_question_overlap(shared_store, steps):
    asked = [Arrival(text, at=float(t), patience=p) for t, text, p in sorted(steps, key=lambda step: step[0])]
    found = served(shared_store, [Coalesce()], *asked)
    for outcome in found.outcomes:
        patient = outcome.arrival.patience
        if patient is None:
            assert outcome.outcome == "answered"
            assert outcome.answers.text[0].startswith(outcome.arrival.text)
        else:
            assert outcome.ended - outcome.arrived <= patient
    for text in ("red 4s", "pears 7s"):
        spans = [(s, e) for s, e, n in calls(found) if asked[n].text == text]
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("wrong", [{"at": "generate"}, {"at": "prompt", "key": "context"}, {"key": "?"}], ids=str)
def test_what_cannot_be_coalesced_is_refused(wrong):
    with pytest.raises(InputError, match=r"^Coalesce: "):
        Coalesce(**wrong)
