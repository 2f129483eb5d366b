from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from obedient import calls, served

from evalkit import InputError
from evalkit.calls import Call
from evalkit.serving import Cache
from evalkit.serving.checks import Cites, Grounded, NoRefusal, NotEmpty
from evalkit.serving.layers.fallback import Fallback
from evalkit.serving.layers.validation import Validation
from evalkit.values import Answer, Prompt


@pytest.mark.parametrize("at", ["generate", "answer"])
def test_an_answer_that_fails_is_asked_for_once_more_with_another_sample(store, at):
    (o,) = (found := served(store, [Validation(at=at)], "1s says= else red apples")).outcomes
    assert (o.answers.text[0], o.ended, len(calls(found))) == ("red apples", 2, 2)
    assert o.notes == {f"validation[{at}]": "ok", f"validation_tries[{at}]": 2}


def test_an_answer_that_passes_is_asked_for_once_and_not_changed(store):
    plain = served(store, [], "red", "pears")
    checked = served(store, [Validation((NotEmpty(), Cites(), NoRefusal()))], "red", "pears")
    assert checked.per_request["answer"].tolist() == plain.per_request["answer"].tolist()
    assert [o.notes["validation_tries[generate]"] for o in checked.outcomes] == [1, 1]


@pytest.mark.parametrize("tries", [1, 2, 4])
def test_what_fails_every_time_is_noted_refused_or_stood_in_for(store, tries):
    question = "1s says=I do not know."
    (o,) = served(store, [Validation(tries=tries)], question).outcomes
    assert (o.outcome, o.answers.text[0], o.ended) == ("answered", "I do not know.", tries)
    assert o.notes["validation[generate]"] == "refuses"
    strict = Validation(tries=tries, otherwise="refuse")
    (o,) = served(store, [strict], question).outcomes
    assert (o.outcome, o.reason, o.ended) == ("refused", "Validation: refuses", tries)
    (o,) = served(store, [Fallback("sorry"), strict], question).outcomes
    assert (o.answers.text[0], o.notes["fallback[answer]"]) == ("sorry", "text: Validation: refuses")


def test_the_first_check_that_fails_is_told_and_the_prompt_is_that_of_the_answer(store):
    checks = (NotEmpty(), Grounded(1.0), Cites(2))
    asked = ["red apples says=red apples grow", "red apples says=xylophone", "red apples says="]
    for at in ("generate", "answer"):
        found = served(store, [Validation(checks, tries=1, at=at)], *asked)
        noted = [o.notes[f"validation[{at}]"] for o in found.outcomes]
        assert noted == ["cites too little", "not grounded", "empty"]


def test_a_failure_is_no_answer_and_goes_on(store):
    (o,) = served(store, [Validation()], "fails=9").outcomes
    assert (o.outcome, o.notes) == ("failed", {})
    (o,) = served(store, [Validation()], "1s fails=1 says=").outcomes
    assert o.outcome == "failed"


def test_a_cache_around_it_keeps_only_what_was_let_through(store):
    layers = [Cache(), Validation(otherwise="refuse", tries=1)]
    found = served(store, layers, "says=", "says=", "red", "red")
    assert [o.outcome for o in found.outcomes] == ["refused", "refused", "answered", "answered"]


@dataclass(frozen=True)
class Streams:
    """Hands its answer on from the first second on."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.sleep(3)
        return Answer("red apples", (), Call("", pieces=(1.0, 2.0, 3.0), seconds=3.0))


def test_a_checked_answer_is_handed_on_when_it_is_there_to_its_end(store):
    for layers, first in (([], 1000), ([Validation()], 3000)):
        found = served(store, layers, "red", generate=Streams())
        assert found.per_request["first_ms"].tolist() == [first]


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (Validation, {"checks": ()}),
        (Validation, {"tries": 0}),
        (Validation, {"at": "retrieve"}),
        (NotEmpty, {"characters": 0}),
        (Cites, {"sources": 0}),
        (Grounded, {"share": 2.0}),
    ],
)
def test_checks_that_cannot_fail_or_pass_are_refused(part, wrong):
    with pytest.raises(InputError, match=f"^{part.__name__}: "):
        part(**wrong)
