from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obedient import ByWord, Obedient, Told, calls, served

from evalkit import InputError
from evalkit.serving import Arrival
from evalkit.serving.layers.circuit_breaker import CircuitBreaker
from evalkit.serving.layers.rate_limit import RateLimit

CALLS = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=30)


def naive(asked, rule):
    """The state each call meets, worked out anew from the list of all that happened."""
    seen, opened, passed = [], None, 0
    for now, fails in asked:
        if opened is not None and now - opened < rule.open_for:
            yield "open"
            continue
        if opened is not None:
            yield "half-open"
            passed = 0 if fails else passed + 1
            if fails:
                opened = now
            elif passed == rule.probes:
                opened, passed, seen = None, 0, []
            continue
        yield "closed"
        seen.append((now, fails))
        recent = [failed for at, failed in seen if now - rule.window < at]
        if fails and sum(recent) >= rule.failures and sum(recent) >= rule.share * len(recent):
            opened, passed, seen = now, 0, []


@given(
    CALLS,
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    st.sampled_from([3.0, 10.0, 1000.0]),
    st.sampled_from([0.0, 2.0, 9.0]),
    st.integers(1, 3),
)
@settings(max_examples=150)
def test_the_states_are_those_of_a_naive_machine(shared_store, drawn, failures, share, window, open_for, probes):
    asked, now = [], 0
    for gap, fails in drawn:
        now += gap
        asked.append((now, fails))
    rule = CircuitBreaker(failures, share, window, open_for, probes)
    arrivals = [Arrival(f"fails={99 * fails}", at) for at, fails in asked]
    found = served(shared_store, [rule], *arrivals)
    states = list(naive(asked, rule))
    assert [o.notes["breaker[generate]"] for o in found.outcomes] == states
    for o, state, (_, fails) in zip(found.outcomes, states, asked, strict=True):
        assert o.outcome == ("refused" if state == "open" else "failed" if fails else "answered")


def test_open_it_asks_nobody_and_says_how_long_still(store):
    arrivals = [
        Arrival("fails=9", 0),
        Arrival("fails=9", 1),
        Arrival("well", 2),
        Arrival("well", 10.5),
        Arrival("well", 11),
    ]
    found = served(store, [Told(), CircuitBreaker(2, open_for=10)], *arrivals)
    assert [o.reason for o in found.outcomes[2:]] == ["CircuitBreaker: open"] * 2 + [""]
    assert [o.notes.get("after") for o in found.outcomes] == [None, None, 9, 0.5, None]
    assert [number for _, _, number in calls(found)] == [0, 1, 4]


def test_half_open_only_as_many_as_are_probes_are_inside(store):
    rule = CircuitBreaker(1, open_for=10, probes=2)
    asked = [
        Arrival("fails=9", 0),
        *(Arrival("4s", 10 + i) for i in range(5)),
        Arrival("1s", 15),
        Arrival("1s", 15.5),
    ]
    found = served(store, [rule], *asked)
    # two probes from 10 and 11 until 14 and 15; then it is closed
    assert [o.outcome for o in found.outcomes] == ["failed", *["answered"] * 2, *["refused"] * 3, *["answered"] * 2]


def test_a_probe_whose_user_leaves_makes_room_for_another(store):
    rule = CircuitBreaker(1, open_for=10)
    asked = [
        Arrival("fails=9", 0),
        Arrival("9s", 10, patience=2),
        Arrival("1s", 11),
        Arrival("1s", 12.5),
        Arrival("1s", 14),
    ]
    found = served(store, [rule], *asked)
    assert [o.outcome for o in found.outcomes] == ["failed", "abandoned", "refused", "answered", "answered"]
    assert [o.notes["breaker[generate]"] for o in found.outcomes][3:] == ["half-open", "closed"]


def test_what_began_before_the_state_changed_counts_no_more(store):
    rule = CircuitBreaker(1, share=0, open_for=2)
    # the long one begins closed, fails when all is closed again, and opens nothing
    asked = [Arrival("9s fails=9", 0), Arrival("fails=9", 1), Arrival("well", 3.5), Arrival("well", 9.5)]
    found = served(store, [rule], *asked)
    assert [o.outcome for o in found.outcomes] == ["failed", "failed", "answered", "answered"]


def test_refusals_of_layers_further_in_open_nothing(store):
    layers = [CircuitBreaker(1, share=0), RateLimit(1, burst=1)]
    found = served(store, layers, *(Arrival("well", i) for i in range(3)))
    assert [o.reason for o in found.outcomes] == ["", *["RateLimit: over the rate"] * 2]


@pytest.mark.parametrize(("per", "outcome"), [("model", "answered"), ("service", "refused")])
def test_each_model_has_a_breaker_of_its_own_unless_all_share_one(store, per, outcome):
    layers = [ByWord(Obedient("other")), CircuitBreaker(1, per=per)]
    found = served(store, layers, Arrival("fails=9", 0), Arrival("reroute", 1), Arrival("well", 2))
    assert [o.outcome for o in found.outcomes] == ["failed", outcome, "refused"]


@pytest.mark.parametrize(
    "wrong",
    [{"failures": 0}, {"probes": 0}, {"share": 1.1}, {"window": 0}, {"open_for": -1}, {"share": float("nan")}],
)
def test_a_breaker_that_never_closes_or_opens_is_refused(wrong):
    with pytest.raises(InputError, match=r"^CircuitBreaker: "):
        CircuitBreaker(**wrong)
