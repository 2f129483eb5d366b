from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obedient import calls, most_at_once, served

from evalkit import InputError
from evalkit.serving import Arrival
from evalkit.serving.layers.concurrency import Concurrency
from evalkit.serving.layers.rate_limit import RateLimit
from evalkit.serving.layers.time_limit import TimeLimit


def simulated(asked, limit, queue, wait):
    """What becomes of each (arrival, seconds, patience): outcome, reason, end, time of entry."""
    events = [(at, 0, i) for i, (at, _, _) in enumerate(asked)]
    events += [(at + patience, 1, i) for i, (at, _, patience) in enumerate(asked) if patience is not None]
    heapq.heapify(events)
    inside, line, found, entered = set(), [], {}, {}

    def let_in(now):
        while line and len(inside) < limit:
            i = line.pop(0)
            inside.add(i)
            entered[i] = now
            heapq.heappush(events, (now + asked[i][1], 2, i))

    while events:
        now, what, i = heapq.heappop(events)
        if what == 0:
            if len(inside) == limit and queue is not None and len(line) == queue:
                found[i] = ("refused", "Concurrency: queue full", now)
                continue
            line.append(i)
            let_in(now)
            if i in line and wait is not None:
                heapq.heappush(events, (now + wait, 3, i))
        elif i in found or (what == 3 and i not in line):
            continue
        elif what == 1:
            found[i] = ("abandoned", f"no answer in {asked[i][2]:g} s", now)
        elif what == 2:
            found[i] = ("answered", "", now)
        else:
            found[i] = ("refused", "Concurrency: waited too long", now)
        if i in found:
            inside.discard(i)
            line = [waiting for waiting in line if waiting != i]
        let_in(now)
    return [(*found[i], entered.get(i)) for i in range(len(asked))]


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 5), st.none() | st.integers(1, 6)), min_size=1, max_size=14
    ),
    st.integers(1, 3),
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 5),
)
def test_who_gets_in_and_when_is_what_a_plain_queue_gives(shared_store, drawn, limit, queue, wait):
    # fractions that no two causes share, so that nothing happens at the same time as anything else
    asked = [
        (at + i / 1024, float(seconds), None if patience is None else patience + 1 / 8192)
        for i, (at, seconds, patience) in enumerate(sorted(drawn, key=lambda one: one[0]))
    ]
    wait = None if wait is None else wait + 1 / 4096
    arrivals = [Arrival(f"{seconds}s number {i}", at, patience=p) for i, (at, seconds, p) in enumerate(asked)]
    found = served(shared_store, [Concurrency(limit, queue, wait)], *arrivals)
    entered = {number: start for start, _, number in calls(found)}
    seen = [(o.outcome, o.reason, o.ended, entered.get(o.number)) for o in found.outcomes]
    assert seen == simulated(asked, limit, queue, wait)
    assert not entered or most_at_once(calls(found)) <= limit
    for o in found.outcomes:
        if o.number in entered:
            assert o.notes["queue_ms[generate]"] == pytest.approx((entered[o.number] - o.arrived) * 1e3)


def test_ten_calls_at_once_take_the_time_of_one_and_twenty_that_of_two(store):
    found = {n: served(store, [Concurrency()], *["0.85s please"] * n) for n in (1, 10, 20)}
    assert {n: max(o.ended for o in f.outcomes) for n, f in found.items()} == {1: 0.85, 10: 0.85, 20: 1.7}
    assert most_at_once(calls(found[20])) == 10


def test_who_leaves_inside_frees_the_slot_and_who_leaves_in_line_the_place(store):
    found = served(
        store,
        [Concurrency(1, queue=1)],
        Arrival("10s inside", 0, patience=3),
        Arrival("1s in line", 1, patience=1),
        Arrival("1s too many", 1.5),
        Arrival("1s next", 2.5),
        Arrival("1s last", 3.5),
    )
    assert [(o.outcome, o.ended) for o in found.outcomes] == [
        ("abandoned", 3), ("abandoned", 2), ("refused", 1.5), ("answered", 4), ("answered", 5),
    ]  # fmt: skip


def test_a_slot_that_is_handed_to_one_who_leaves_in_the_same_instant_goes_to_the_next(store):
    # at 2 s the first is done and the second's patience ends, whichever of the two the loop sees first
    for patience in (1.5, 1.5 + 2**-40, 1.5 - 2**-40):
        found = served(
            store,
            [Concurrency(1)],
            Arrival("2s first", 0),
            Arrival("5s second", 0.5, patience=patience),
            Arrival("1s third", 1),
            Arrival("1s fourth", 1),
        )
        assert [o.outcome for o in found.outcomes] == ["answered", "abandoned", "answered", "answered"]
        assert [o.ended for o in found.outcomes][2:] == pytest.approx([3, 4])


def test_a_failure_frees_the_slot(store):
    found = served(store, [Concurrency(1)], "1s fails=1", "1s well")
    assert [(o.outcome, o.ended) for o in found.outcomes] == [("failed", 1), ("answered", 2)]


@pytest.mark.parametrize(
    ("per", "ended"),
    [("service", [1, 2, 3, 4]), ("tenant", [1, 2, 3, 1]), ("user", [1, 2, 1, 1]), ("model", [1, 2, 3, 4])],
)
def test_each_that_is_counted_has_slots_of_its_own(store, per, ended):
    who = [("ann", "a"), ("ann", "a"), ("bob", "a"), ("ann", "b")]
    found = served(store, [Concurrency(1, per=per)], *(Arrival("1s", 0, user=user, tenant=t) for user, t in who))
    assert [o.ended for o in found.outcomes] == ended


def test_around_the_answer_whole_requests_are_limited(store):
    found = served(store, [Concurrency(1, at="answer")], "1s red", "1s pears", cost={"search": 1.0}, cores=4)
    assert [o.ended for o in found.outcomes] == [2, 4]
    apart = served(store, [Concurrency(1)], "1s red", "1s pears", cost={"search": 1.0}, cores=4)
    assert [o.ended for o in apart.outcomes] == [2, 3]


def test_a_wait_of_nought_is_no_wait_and_a_queue_of_nought_is_none(store):
    for layer, reason in ((Concurrency(1, wait=0), "waited too long"), (Concurrency(1, queue=0), "queue full")):
        first, second = served(store, [layer], "1s", "1s").outcomes
        assert (first.outcome, second.reason, second.ended) == ("answered", f"Concurrency: {reason}", 0)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"queue": -1}, {"wait": -0.1}, {"wait": float("nan")}])
def test_a_limit_that_lets_nobody_in_is_refused(wrong):
    with pytest.raises(InputError, match=r"^Concurrency: "):
        Concurrency(**wrong)


def test_on_a_real_clock_the_limits_hold_too(store):
    layers = [Concurrency(2), RateLimit(200, each="second", burst=1, on="wait"), TimeLimit(1.5)]
    asked = [*["0.01s"] * 6, "9s"]
    found = served(store, layers, *asked, clock="wall", cost=None)
    assert [o.outcome for o in found.outcomes] == [*["answered"] * 6, "failed"]
    assert most_at_once(calls(found)) <= 2
    starts = [start for start, _, _ in calls(found)]
    first = found.outcomes[0].arrived  # a busy machine may only be later
    assert all(start - first >= i / 200 - 1e-6 for i, start in enumerate(starts))
