from __future__ import annotations

import pytest
from obedient import Obedient, calls, most_at_once, served
from toys import keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.serving import Arrival, ClosedLoop
from evalkit.serving.layers.circuit_breaker import CircuitBreaker
from evalkit.serving.layers.concurrency import Concurrency
from evalkit.serving.layers.fallback import Fallback
from evalkit.serving.layers.fault_injection import FaultInjection
from evalkit.serving.layers.rate_limit import RateLimit
from evalkit.serving.layers.retry import Retry
from evalkit.serving.layers.time_limit import TimeLimit


def failed(found):
    return [o.number for o in found.outcomes if o.outcome == "failed"]


def test_about_the_stated_share_fails_even_of_one_question(store):
    found = served(store, [FaultInjection(0.05)], *["red"] * 2000)
    # 100 of 2,000, give or take 9.7
    assert 61 < len(failed(found)) < 139
    assert {o.reason for o in found.outcomes if o.outcome == "failed"} == {"529 injected fault"}
    assert len(calls(found)) == 2000 - len(failed(found))


def test_a_share_of_nought_is_none_and_one_is_all(store):
    for share, expected in ((0, []), (1, list(range(20)))):
        assert failed(served(store, [FaultInjection(share)], *["red"] * 20)) == expected


def test_the_same_calls_fail_again_whatever_other_layers_do_and_others_with_another_seed(store):
    traffic = [f"{i % 7 + 1}s" for i in range(100)]
    alone = failed(served(store, [FaultInjection(0.2)], *traffic))
    assert failed(served(store, [Concurrency(2), FaultInjection(0.2)], *traffic)) == alone
    assert failed(served(store, [FaultInjection(0.2, seed=1)], *traffic)) != alone
    assert failed(served(store, [FaultInjection(0.2)], *traffic, generate=Obedient("other"))) != alone
    smaller = failed(served(store, [FaultInjection(0.1)], *traffic))
    assert set(smaller) < set(alone)


def test_a_fault_takes_its_time_and_asks_nobody(store):
    (o,) = (found := served(store, [FaultInjection(1, 2.5)], "1s")).outcomes
    assert (o.ended, calls(found), o.notes) == (2.5, [], {"faults[generate]": 1})


def test_another_sample_is_another_draw(store):
    found = served(store, [Retry(2, 0.0), FaultInjection(0.5)], *["red"] * 400)
    first = sum(o.notes.get("faults[generate]", 0) > 0 for o in found.outcomes)
    assert 160 < first < 240
    # a quarter fails twice: 100, give or take 8.7
    assert 65 < len(failed(found)) < 135


def test_a_hundred_users_and_failing_calls_lose_no_request_and_never_pass_the_limit(store):
    layers = (
        Fallback(at="answer", on=("failed",)),
        RateLimit(4, burst=2, at="answer"),
        Concurrency(10, queue=60, wait=20.0),
        CircuitBreaker(20, open_for=5.0),
        Retry(3, 0.1),
        TimeLimit(4.0),
        FaultInjection(0.05, 0.2),
    )
    variant = keywords()
    service = Service(type(variant)(variant.chunk, variant.retrieve, generate=Obedient("toy")), layers)
    asked = [
        Arrival(f"{1 + i % 5}s number {i}", user=f"user {i % 40}", patience=30.0 if i % 10 else 2.0)
        for i in range(600)
    ]
    runs = [
        replay(service, small_dataset(), ClosedLoop(asked, users=100, think=5.0), cost={"search": 0.01}, store=store)
        for _ in range(2)
    ]
    assert runs[0].per_request.equals(runs[1].per_request)
    found = runs[0]
    assert sorted(o.number for o in found.outcomes) == list(range(600))
    answered, others = ([o for o in found.outcomes if (o.outcome == "answered") is done] for done in (True, False))
    assert {o.outcome for o in others} == {"refused", "abandoned"}
    assert all(o.reason for o in others)
    assert all(o.answers is not None for o in answered)
    assert most_at_once(calls(found)) == 10
    assert any("fallback[answer]" in o.notes for o in answered)  # every fifth takes longer than 4 s
    assert {"RateLimit: over the rate", "Concurrency: waited too long"} <= {o.reason for o in others}


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"share": float("nan")}, {"seconds": -1}, {"error": " "}])
def test_faults_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match=r"^FaultInjection: "):
        FaultInjection(**wrong)
