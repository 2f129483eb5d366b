from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from toys import HashedWords, dense, keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.calls import Call, CallFailed
from evalkit.columns import Strings
from evalkit.serving import Arrival
from evalkit.values import Answer, Prompt, Queries, Vectors

COSTS = {"embed": 4.0, "search": 2.0, "assemble": 1.0, "generate": 3.0}


@dataclass(frozen=True)
class Does:
    """A layer that does what a test says."""

    what: Any = field(compare=False)
    at: str = "answer"

    def start(self, serving: Any) -> Any:
        async def handle(request, go_on):
            return await self.what(serving, request, go_on)

        return handle

    def identity(self) -> dict[str, Any]:
        return {"what": None}


def ask(what, store, variant=None, at="answer", times=(0.0,), **options):
    service = Service(variant or dense(), (Does(what, at),))
    arrivals = [Arrival("red apples", at=t) for t in times]
    return replay(service, small_dataset(), arrivals, store=store, **{"cost": COSTS, "cores": 4, **options})


def stages(found) -> list[str]:
    return [event.name for event in found.outcomes[0].events if event.kind != "layer"]


def test_what_two_tasks_of_a_request_need_is_worked_on_once(store):
    async def both(serving, request, go_on):
        first, second, answer = await asyncio.gather(
            request.get(serving.nodes["prompt"]), request.get(serving.nodes["retrieve"]), go_on(request)
        )
        assert (await request.get(serving.nodes["prompt"]), len(second)) == (first, 1)
        return answer

    found = ask(both, store)
    assert sorted(stages(found)) == ["assemble", "embed", "generate", "search"]
    assert found.outcomes[0].ended == 10.0


def test_what_is_begun_with_get_is_under_way_while_the_layer_does_something_else(store):
    async def ahead(serving, request, go_on):
        request.get(serving.nodes["prompt"])  # takes 7 s
        await request.clock.sleep(7)
        return await go_on(request)

    assert ask(ahead, store).outcomes[0].ended == 10.0


def test_one_who_leaves_does_not_take_the_work_from_another(store):
    async def leaves(serving, request, go_on):
        answer = asyncio.ensure_future(go_on(request))  # embeds from 0 to 4
        await request.clock.sleep(1)
        other = asyncio.ensure_future(follow(serving, request))
        await request.clock.sleep(1)
        answer.cancel()  # at 2: what the other waits for begins anew
        return await other

    async def follow(serving, request):
        prompt = await request.get(serving.nodes["prompt"])
        request.note("ended", request.clock.now())
        return Answer.table([Answer(prompt.question[0])])

    found = ask(leaves, store)
    assert found.outcomes[0].answers.text[0] == "red apples"
    assert found.outcomes[0].notes["ended"] == 2 + 4 + 2 + 1


def test_what_was_given_up_can_be_asked_for_again(store):
    async def impatient(serving, request, go_on):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(request.get(serving.nodes["prompt"]), 3)
        return await go_on(request)

    assert ask(impatient, store).outcomes[0].ended == 3 + 10


def test_a_failure_reaches_everyone_who_waits_and_whoever_asks_later(store):
    @dataclass(frozen=True)
    class Slow:
        """A generator that fails."""

        version: ClassVar[int] = 1
        stage: ClassVar[str] = "generate"

        async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
            await clock.sleep(1)
            raise CallFailed("no", Call("m", stop="529 busy"))

    async def thrice(serving, request, go_on):
        node = serving.nodes["answer"]
        found = await asyncio.gather(go_on(request), go_on.to(node)(request), return_exceptions=True)
        assert [str(error) for error in found] == ["no", "no"]
        raise found[0]

    found = ask(thrice, store, dense(generate=Slow()))
    assert (found.outcomes[0].outcome, found.outcomes[0].reason) == ("failed", "529 busy")
    assert found.outcomes[0].ended == 4 + 2 + 1 + 1


def test_a_layer_that_waits_for_itself_is_told_so_and_does_not_wait_for_ever(store):
    async def circular(serving, request, go_on):
        return await request.get(serving.nodes["answer"])

    with pytest.raises(InputError, match="a layer around 'generate' waits for what it is asked for"):
        ask(circular, store)


def test_equal_questions_are_worked_on_once_where_work_takes_a_stated_time(store, monkeypatch):
    asked = []
    original = HashedWords.__call__
    monkeypatch.setattr(
        HashedWords, "__call__", lambda self, texts: asked.append(len(texts)) or original(self, texts)
    )
    times = (0.0, 100.0, 200.0)
    for cost, often in ((COSTS, 1), (None, 3)):
        asked.clear()
        found = replay(dense(), small_dataset(), [Arrival("red apples", at=t) for t in times], cost=cost, store=store)
        assert asked.count(1) == often  # the corpus has four
        assert len(set(found.per_request["answer"])) == 1


def test_what_is_remembered_is_never_another_questions(store):
    texts = [f"{a} {b}" for a in ("red", "green", "blue") for b in ("apples", "pears", "plums")]
    arrivals = [Arrival(texts[i % len(texts)], at=float(i)) for i in range(90)]
    for variant in (dense(), keywords()):
        remembered, each = (
            replay(variant, small_dataset(), arrivals, cost=cost, store=store).per_request["answer"].tolist()
            for cost in ({}, None)
        )
        assert remembered == each
        assert len(set(each)) == len(texts)


def test_memory_of_work_is_bounded(store, monkeypatch):
    monkeypatch.setattr("evalkit.serving.running._REMEMBERED", 7)
    arrivals = [Arrival(f"red {i % 20}", at=float(i)) for i in range(60)]
    found = replay(dense(), small_dataset(), arrivals, cost={}, store=store).per_request["answer"].tolist()
    expected = replay(dense(), small_dataset(), arrivals, store=store).per_request["answer"].tolist()
    assert found == expected


def test_a_vector_is_a_requests_own_row(store):
    async def look(serving, request, go_on):
        embedding = next(n for n in serving.nodes["answer"].walk() if n.stage == "embed" and n.per_query)
        vector = await request.get(embedding)
        assert isinstance(vector, Vectors)
        assert vector.values.tolist() == HashedWords()(queries(request.text)).values.tolist()
        return await go_on(request)

    def queries(text):
        return Queries(Strings.of([""]), Strings.of([text]))

    assert ask(look, store, times=(0.0, 1.0)).per_request["outcome"].tolist() == ["answered"] * 2
