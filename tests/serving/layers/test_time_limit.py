from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obedient import Obedient, calls, served

from evalkit import InputError
from evalkit.serving import Arrival
from evalkit.serving.layers.concurrency import Concurrency
from evalkit.serving.layers.fallback import Fallback
from evalkit.serving.layers.time_limit import TimeLimit


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 8))
@settings(max_examples=30)
def test_who_takes_longer_fails_at_the_limit_and_nobody_else_notices(shared_store, seconds, limit):
    found = served(shared_store, [TimeLimit(limit + 0.5)], *(f"{s}s" for s in seconds))
    expected = [("answered", "", s) if s <= limit else ("failed", "timed out", limit + 0.5) for s in seconds]
    assert [(o.outcome, o.reason, o.ended) for o in found.outcomes] == expected


def test_what_was_under_way_is_stopped(store):
    found = served(store, [TimeLimit(2)], "5s", Arrival("1s", 8))
    assert [(start, end) for start, end, _ in calls(found)] == [(0, 2), (8, 9)]


def test_a_time_limit_counts_from_its_place_or_from_the_arrival(store):
    asked = [Arrival("3s", 1), Arrival("3s", 1), Arrival("3s", 1)]
    line = Concurrency(1)
    here = served(store, [line, TimeLimit(4)], *asked)
    assert [(o.outcome, o.ended) for o in here.outcomes] == [("answered", 4), ("answered", 7), ("answered", 10)]
    arrival = served(store, [line, TimeLimit(4, since="arrival")], *asked)
    # the second has a second left when it gets in, the third none
    assert [(o.outcome, o.ended) for o in arrival.outcomes] == [("answered", 4), ("failed", 5), ("failed", 5)]
    outside = served(store, [TimeLimit(4), line], *asked)
    assert [(o.outcome, o.ended) for o in outside.outcomes] == [("answered", 4), ("failed", 5), ("failed", 5)]


@pytest.mark.parametrize("at", ["retrieve", "prompt", "answer", "generate"])
def test_every_place_may_have_a_limit(store, at):
    took = {"search": 3.0, "assemble": 3.0}
    inside = {"retrieve": 3, "prompt": 6, "answer": 9, "generate": 3}[at]
    for limit, outcome in ((inside + 1, "answered"), (inside - 1, "failed")):
        (o,) = served(store, [TimeLimit(limit, at=at)], "3s", cost=took).outcomes
        assert (o.outcome, o.reason) == (outcome, "" if outcome == "answered" else "timed out")
        assert o.ended == (9 if outcome == "answered" else {"generate": 8}.get(at, limit))


def test_after_a_time_limit_a_request_may_begin_anew_what_was_stopped(store):
    # given up at 2 s with the search half done; for the fallback's generator the search is done again
    layers = [Fallback(generator=Obedient("other")), TimeLimit(4, at="answer")]
    (o,) = served(store, layers, "2s", cost={"search": 3.0}).outcomes
    assert (o.outcome, o.notes["fallback[answer]"], o.ended) == ("answered", "Obedient: timed out", 6)
    layers = [Fallback(generator=Obedient("other")), TimeLimit(2, at="answer")]
    (o,) = served(store, layers, "2s", cost={"search": 3.0}).outcomes
    assert o.notes["fallback[answer]"] == "text: timed out, then timed out"


def test_a_time_out_of_the_models_own_is_not_taken_for_the_limits(store):
    with pytest.raises(Exception, match="no such tensor"):
        served(store, [TimeLimit(2)], "1s raises")


def test_a_user_who_leaves_first_has_left(store):
    (o,) = served(store, [TimeLimit(2)], Arrival("5s", patience=1)).outcomes
    assert (o.outcome, o.ended) == ("abandoned", 1)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_at_all_is_refused(seconds):
    with pytest.raises(InputError, match=r"^TimeLimit: "):
        TimeLimit(seconds)
