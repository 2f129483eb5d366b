from __future__ import annotations

import pytest
from obedient import Obedient, calls, served

from evalkit import InputError
from evalkit.serving import Arrival
from evalkit.serving.layers.circuit_breaker import CircuitBreaker
from evalkit.serving.layers.fallback import Fallback
from evalkit.serving.layers.fault_injection import FaultInjection
from evalkit.serving.layers.rate_limit import RateLimit
from evalkit.serving.layers.retry import Retry
from evalkit.serving.layers.time_limit import TimeLimit


def texts(found):
    return [o.answers.text[0] if o.answers is not None else None for o in found.outcomes]


@pytest.mark.parametrize("at", ["answer", "generate"])
def test_a_text_stands_for_an_answer_that_failed_and_every_one_is_counted(store, at):
    found = served(store, [Fallback("no answer", at=at)], "red", "fails=9", "pears", "fails=9")
    assert [o.outcome for o in found.outcomes] == ["answered"] * 4
    assert [text == "no answer" for text in texts(found)] == [False, True, False, True]
    assert [o.notes.get(f"fallback[{at}]") for o in found.outcomes] == [None, "text: 529 at sample 0"] * 2
    assert [list(o.answers.cited[0]) for o in found.outcomes][1] == []


def test_refusals_have_their_reason_told(store):
    layers = [Fallback("later"), RateLimit(1, burst=1)]
    found = served(store, layers, "red", "pears")
    assert [o.notes.get("fallback[answer]") for o in found.outcomes] == [None, "text: RateLimit: over the rate"]
    passed_on = served(store, [Fallback("later", on=("failed",)), RateLimit(1, burst=1)], "red", "pears")
    assert [o.reason for o in passed_on.outcomes] == ["", "RateLimit: over the rate"]


def test_another_generator_gets_the_same_prompt_and_the_layers_further_in_are_around_it(store):
    other = Obedient("other")
    layers = [Fallback(None, other, at="generate"), CircuitBreaker(1), TimeLimit(3)]
    found = served(store, layers, "red apples 9s", "red apples")
    # the first model's breaker is open for the second request; the other model has one of its own
    assert [o.outcome for o in found.outcomes] == ["failed", "answered"]
    later = served(store, layers, Arrival("9s", 0), Arrival("red apples", 5))
    assert texts(later)[1] == "red apples (2 passages, sample 0)"
    assert later.outcomes[1].notes["fallback[generate]"] == "Obedient: CircuitBreaker: open"
    assert later.outcomes[0].reason == "timed out"


def test_where_the_other_generator_fails_too_the_text_is_given_or_else_the_failure_goes_on(store):
    for answer, outcome in (("sorry", "answered"), (None, "failed")):
        (o,) = served(store, [Fallback(answer, Obedient("other"))], "fails=9").outcomes
        assert o.outcome == outcome
    (o,) = served(store, [Fallback("sorry", Obedient("other"))], "fails=9").outcomes
    assert o.notes["fallback[answer]"] == "text: 529 at sample 0, then 529 at sample 0"
    (o,) = served(store, [Fallback(None)], "fails=9").outcomes
    assert (o.outcome, o.reason, o.notes) == ("failed", "529 at sample 0", {})


def test_when_the_store_fails_the_answer_goes_on_without_context_and_is_counted(store):
    layers = [Fallback(at="retrieve"), FaultInjection(0.5, error="store gone", at="retrieve")]
    found = served(store, layers, *["red apples"] * 200)
    fell = [o.notes.get("fallback[retrieve]") == "no context: store gone" for o in found.outcomes]
    assert 70 < sum(fell) < 130
    assert [o.outcome for o in found.outcomes] == ["answered"] * 200
    assert ["(0 passages" in text for text in texts(found)] == fell
    assert ["(2 passages" in text for text in texts(found)] == [not one for one in fell]
    assert [o.notes.get("faults[retrieve]", 0) for o in found.outcomes] == [int(one) for one in fell]


def test_a_store_that_is_too_slow_is_gone_too(store):
    layers = [Fallback(at="retrieve"), Retry(2, 0.0, at="retrieve"), TimeLimit(1, at="retrieve")]
    (o,) = served(store, layers, "1s red", cost={"search": 3.0}).outcomes
    assert (o.outcome, o.ended, o.notes["fallback[retrieve]"]) == ("answered", 3, "no context: timed out")


def test_work_that_raises_ends_the_replay_unless_it_is_to_be_stood_in_for(store):
    with pytest.raises(Exception, match="no such tensor"):
        served(store, [Fallback()], "raises")
    (o,) = served(store, [Fallback("sorry", on=("error",))], "raises").outcomes
    assert (o.outcome, o.answers.text[0]) == ("answered", "sorry")
    assert "no such tensor" in o.notes["fallback[answer]"]


def test_who_leaves_gets_nothing_in_its_place(store):
    found = served(store, [Fallback()], Arrival("9s", patience=1))
    assert [(o.outcome, o.notes) for o in found.outcomes] == [("abandoned", {})]
    assert len(calls(found)) == 1


@pytest.mark.parametrize("wrong", [{"at": "retrieve", "generator": Obedient()}, {"at": "embed"}, {"on": ()}])
def test_a_fallback_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match=r"^Fallback: "):
        Fallback(**wrong)
