from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from toys import Echo, dense, small_dataset

from evalkit import InputError, Service, replay
from evalkit.calls import Call, CallFailed, TokenUsage
from evalkit.serving import Arrival, Cache
from evalkit.serving.checks import Grounded, NotEmpty
from evalkit.serving.layers.cascade import Cascade
from evalkit.values import Answer, Prompt

SECONDS = {"embed": 0.05, "search": 0.1, "assemble": 0.01}
QUESTIONS = ("red apples", "pears fall", "who judges plums", "xylophone")


@dataclass(frozen=True)
class Priced:
    """A model that answers in a stated time, streams, and refuses or fails on some questions."""

    model: str
    seconds: float
    refuses: str = "-"
    fails: str = "-"

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.elapse(self.seconds)
        call = Call(self.model, TokenUsage(10, output=2), (self.seconds / 2, self.seconds), seconds=self.seconds)
        if self.fails in prompt.question:
            raise CallFailed(f"{self.model}: 529", Call(self.model, seconds=self.seconds, stop="overloaded"))
        text = "I cannot answer that" if self.refuses in prompt.question else f"{self.model}: {prompt.passages[0]}"
        return Answer(text, prompt.sources[:1], call)


BIG = Priced("big", 1.0)


def served(layers, store, questions=QUESTIONS):
    arrivals = [Arrival(text, at=10.0 * i) for i, text in enumerate(questions)]
    return replay(Service(dense(generate=BIG), layers), small_dataset(), arrivals, cost=SECONDS, store=store)


def models(found) -> list[list[str]]:
    return [[call.model for call in outcome.calls] for outcome in found.outcomes]


def test_only_what_will_not_do_is_asked_of_the_services_own_model_and_both_calls_are_counted(store):
    found = served((Cascade(first=Priced("small", 0.2, refuses="plums")),), store)
    table = found.per_request
    assert table["escalated"].tolist() == ["no", "no", "refuses", "no"]
    assert models(found) == [["small"], ["small"], ["small", "big"], ["small"]]
    assert [answer.partition(":")[0] for answer in table["answer"]] == ["small", "small", "big", "small"]
    # the prompt is made once: 160 ms, then a call or two
    assert table["ms"].tolist() == pytest.approx([360, 360, 1360, 360])


def test_an_answer_that_was_looked_at_comes_whole_and_an_escalated_one_streams(store):
    table = served((Cascade(first=Priced("small", 0.2, refuses="plums")),), store).per_request
    assert table["first_ms"].tolist() == pytest.approx([360, 360, 860, 360])


def test_a_first_call_that_fails_escalates(store):
    found = served((Cascade(first=Priced("small", 0.2, fails="pears")),), store)
    assert found.per_request["escalated"].tolist() == ["no", "failed", "no", "no"]
    assert found.per_request["outcome"].tolist() == ["answered"] * 4
    assert models(found)[1] == ["small", "big"]


def test_an_answer_is_that_of_a_service_with_the_model_that_gave_it(store):
    small = Priced("small", 0.2, refuses="plums")
    found = served((Cascade(first=small),), store).per_request
    arrivals = [Arrival(text, at=10.0 * i) for i, text in enumerate(QUESTIONS)]
    alone = {
        model: replay(dense(generate=model), small_dataset(), arrivals, cost=SECONDS, store=store).per_request
        for model in (small, BIG)
    }
    for i, why in enumerate(found["escalated"]):
        assert found["answer"][i] == alone[small if why == "no" else BIG]["answer"][i]


def test_caches_behind_a_cascade_keep_both_models_answers(store):
    layers = (Cascade(first=Priced("small", 0.2, refuses="plums")), Cache())
    found = served(layers, store, ("who judges plums", "who judges plums", "red apples", "red apples"))
    assert models(found) == [["small", "big"], [], ["small"], []]
    answers = found.per_request["answer"].tolist()
    assert answers[1] == answers[0]
    assert answers[3] == answers[2] != answers[0]
    assert found.per_request["escalated"].tolist() == ["refuses", "refuses", "no", "no"]
    with pytest.raises(InputError, match="list Cascade before Cache"):
        served((Cache(), Cascade(first=Priced("small", 0.2))), store)


def test_cascades_follow_one_another_from_the_cheapest_on(store):
    layers = (
        Cascade(first=Priced("small", 0.2, refuses="p")),
        Cascade(first=Priced("middle", 0.5, refuses="plums")),
    )
    found = served(layers, store, ("red apples", "who judges plums", "xylo"))
    assert models(found) == [["small", "middle"], ["small", "middle", "big"], ["small"]]


def test_a_demand_on_grounding_escalates_what_says_more_than_the_passages(store):
    # Echo quotes a passage of three words, and adds the question and a number that stand in none
    found = served((Cascade(first=Echo(), checks=(Grounded(0.7, by="stems"),)),), store)
    assert found.per_request["escalated"].tolist() == ["no", "no", "not grounded", "not grounded"]
    every = served((Cascade(first=Echo(), checks=(NotEmpty(words=99),)),), store)
    assert every.per_request["escalated"].tolist() == ["too short"] * 4


def test_a_wrong_place_is_refused():
    with pytest.raises(InputError, match="around both models"):
        Cascade(at="generate")
