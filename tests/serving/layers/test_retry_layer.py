from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obedient import Obedient, calls, served

from evalkit import InputError
from evalkit.serving import Arrival
from evalkit.serving.layers.circuit_breaker import CircuitBreaker
from evalkit.serving.layers.fallback import Fallback
from evalkit.serving.layers.rate_limit import RateLimit
from evalkit.serving.layers.retry import Retry
from evalkit.serving.layers.time_limit import TimeLimit


def starts(found, number=0):
    return [start for start, _, whose in calls(found) if whose == number]


@given(
    st.integers(1, 6),
    st.integers(0, 6),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([1.0, 2.0, 3.0]),
    st.sampled_from([0.0, 4.0, 100.0]),
)
@settings(max_examples=40)
def test_tries_and_waits_follow_the_schedule(shared_store, tries, fails, backoff, factor, longest):
    layer = Retry(tries, backoff, factor, longest, "none")
    (o,) = (found := served(shared_store, [layer], f"1s fails={fails}")).outcomes
    made = min(tries, fails + 1)
    waits = [min(longest, backoff * factor**n) for n in range(made - 1)]
    assert starts(found) == [sum(waits[:n]) + n for n in range(made)]
    assert o.outcome == ("answered" if fails < tries else "failed")
    assert o.ended == sum(waits) + made
    assert o.notes["tries[generate]"] == made
    assert o.notes.get("retry_ms[generate]", 0) == sum(waits) * 1e3
    # each try asks for a sample of its own: the answer and the reason say which
    assert f"sample {made - 1}" in (o.answers.text[0] if o.answers else o.reason)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_full_jitter_draws_between_nothing_and_the_whole_wait_and_tells_requests_apart(shared_store, seed):
    layer = Retry(4, 1.0, 2.0, 3.0, seed=seed)
    found = served(shared_store, [layer], *["fails=3"] * 5)
    again = served(shared_store, [layer], *["fails=3"] * 5)
    assert found.per_request.equals(again.per_request)
    seen = [starts(found, n) for n in range(5)]
    for tried in seen:
        waits = [b - a for a, b in pairwise(tried)]
        assert all(0 <= wait <= most for wait, most in zip(waits, (1.0, 2.0, 3.0), strict=True))
    assert len({tuple(tried) for tried in seen}) == 5


def test_jitter_is_spread_evenly(store):
    found = served(store, [Retry(2, 1.0)], *["fails=1"] * 400)
    waits = [o.notes["retry_ms[generate]"] for o in found.outcomes]
    # a mean of 400 uniform draws from 0 to 1000: 500, give or take 14.4
    assert 440 < sum(waits) / 400 < 560
    assert min(waits) < 50
    assert max(waits) > 950


@pytest.mark.parametrize("question", ["fails=1 final", "raises"])
def test_what_cannot_succeed_is_not_tried_again(store, question):
    if question == "raises":
        with pytest.raises(Exception, match="no such tensor"):
            served(store, [Retry()], question)
    else:
        (o,) = served(store, [Retry()], question).outcomes
        assert (o.outcome, o.notes["tries[generate]"]) == ("failed", 1)


def test_work_that_raises_is_tried_again_where_that_is_asked_for(store):
    found = served(store, [Fallback(on=("error",)), Retry(3, 1.0, jitter="none", on=("error",))], "1s raises")
    assert (len(starts(found)), found.outcomes[0].ended) == (3, 6)
    limit = TimeLimit(5)
    (o,) = served(store, [Retry(3, 1.0, jitter="none", on=("error", "failed")), limit], "6s").outcomes
    assert (o.outcome, o.reason, o.ended) == ("failed", "timed out", 5 + 1 + 5 + 2 + 5)


def test_refusals_are_tried_again_only_where_that_is_asked_for_and_not_sooner_than_they_say(store):
    limit = RateLimit(0.5, each="second", burst=1)
    never = served(store, [Retry(jitter="none"), limit], "red", "pears")
    assert [(o.outcome, o.ended) for o in never.outcomes] == [("answered", 0), ("refused", 0)]
    asked = served(store, [Retry(backoff=0.1, jitter="full", on=("refused",)), limit], "red", "pears")
    assert [(o.outcome, o.ended) for o in asked.outcomes] == [("answered", 0), ("answered", 2)]
    longer = served(store, [Retry(backoff=3.0, jitter="none", on=("refused",)), limit], "red", "pears")
    assert longer.outcomes[1].ended == 3


def test_a_hint_beyond_the_longest_wait_ends_the_trying(store):
    breaker = CircuitBreaker(failures=1, share=0, open_for=30)
    found = served(store, [Retry(5, 1.0, jitter="none", on=("failed", "refused")), breaker], "fails=9")
    (o,) = found.outcomes
    assert (o.outcome, o.reason, o.ended) == ("refused", "CircuitBreaker: open", 1)
    longer = Retry(3, 1.0, jitter="none", longest=60, on=("failed", "refused"))
    (o,) = served(store, [longer, breaker], "fails=1").outcomes
    assert (o.outcome, o.ended) == ("answered", 30)


def test_retries_within_retries_never_ask_for_one_sample_twice(store):
    layers = [Retry(2, 0.0, at="answer"), Retry(3, 0.0)]
    (o,) = (found := served(store, layers, "fails=5")).outcomes
    assert o.answers.text[0].endswith("sample 5)")
    assert len(starts(found)) == 6
    assert (o.notes["tries[answer]"], o.notes["tries[generate]"]) == (2, 6)


def test_a_user_who_leaves_between_two_tries_ends_them(store):
    arrivals = [Arrival("1s fails=9", patience=1.5), Arrival("30s")]
    found = served(store, [Retry(9, 1.0, jitter="none")], *arrivals)
    assert [o.outcome for o in found.outcomes] == ["abandoned", "answered"]
    assert starts(found) == [0]


def test_around_a_seam_the_seam_is_worked_out_again(store):
    found = served(
        store,
        [Retry(3, 1.0, jitter="none", at="retrieve"), TimeLimit(2, at="retrieve")],
        "red",
        cost={"search": 3.0},
    )
    (o,) = found.outcomes
    assert (o.outcome, o.ended, o.notes["tries[retrieve]"]) == ("failed", 2 + 1 + 2 + 2 + 2, 3)


@pytest.mark.parametrize(
    "wrong", [{"tries": 0}, {"backoff": -1}, {"longest": -1}, {"factor": 0.5}, {"factor": float("nan")}]
)
def test_a_schedule_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match=r"^Retry: "):
        Retry(**wrong)


def test_the_model_itself_is_left_alone_where_all_goes_well(store):
    (o,) = served(store, [Retry()], "1s", generate=Obedient()).outcomes
    assert (o.outcome, o.ended, o.notes) == ("answered", 1, {"tries[generate]": 1})
