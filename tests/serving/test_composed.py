from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Echo, dense, hybrid, keywords

from evalkit import Service, Timing, cassette, replay, run
from evalkit.datasets.build import build
from evalkit.datasets.rows import Row
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.llm import Extractive
from evalkit.llm.latency.profiles import Profile
from evalkit.llm.modelled import Modelled
from evalkit.llm.replayed import Replayed
from evalkit.serving import Arrival
from evalkit.serving.costs import RecordedCost

JITTERY = Profile(0.2, 0.001, 0.01, jitter_first=0.3, jitter_rate=0.2)
READER = Extractive(dense().retrieve.embedder, support=0.0)
STAGES = ("embed", "search", "fuse", "assemble", "generate")


@dataclass(frozen=True)
class Told:
    """Tells every question what was said before it, as the data set has it."""

    said: Any = field(compare=False)
    at: str = "answer"

    def identity(self) -> dict[str, Any]:
        return {"said": None}

    def start(self, serving: Any) -> Any:
        async def handle(request, go_on):
            request.tell(request.text, self.said[request.text])
            return await go_on(request)

        return handle


def in_conversation():
    """Questions that only what was said before makes clear."""
    documents = {
        "apples": "Red apples grow in the north orchard. They are picked in autumn.",
        "pears": "Green pears grow in the south orchard. They are picked in summer.",
        "plums": "Blue plums grow by the river. They are picked in August.",
    }
    queries = {
        "q1": ("Where do apples grow?", []),
        "q2": ("When are they picked?", ["Where do red apples grow?", "In the north orchard."]),
        "q3": ("And the other ones?", ["When are apples picked?", "In autumn.", "And pears?", "In summer."]),
    }
    return build(
        "conversations",
        [Row(name, {"id": name, "text": text}) for name, text in documents.items()],
        [Row(name, {"id": name, "text": text, "history": said}) for name, (text, said) in queries.items()],
        [Row("q1", {"query": "q1", "document": "apples", "grade": 1})],
        [],
    )


def evaluated(variant, data, store):
    plan = make_plan({"": variant.nodes()})
    context, given = Context(store), sources(data, 0, store)
    done = execute(plan, given, context)
    asked = context.whole(given[next(r for r, n in plan.nodes.items() if n.op == "query")].blocks)
    answers = context.whole(done[plan.wanted[""]["answer"]].blocks)
    return dict(zip(asked.text, zip(answers.text, answers.made(), strict=True), strict=True))


@pytest.mark.parametrize("cost", [None, {"embed": 0.1}])
@pytest.mark.parametrize("retrieve", [dense().retrieve, hybrid().retrieve], ids=["dense", "hybrid"])
def test_with_what_was_said_before_replay_still_gives_evaluates_answers(store, retrieve, cost):
    data = in_conversation()
    variant = dense(retrieve=retrieve, generate=READER)
    expected = {text: answer for text, (answer, _) in evaluated(variant, data, store).items()}
    said = {t: tuple(h) for t, h in zip(data.queries.text, data.queries.history, strict=True)}
    arrivals = [Arrival(text) for text in data.queries.text] * 2
    found = replay(Service(variant, (Told(said),)), data, arrivals, cost=cost, store=store).per_request
    assert dict(zip(found["text"], found["answer"], strict=True)) == expected
    without = replay(variant, data, arrivals, cost=cost, store=store).per_request
    assert dict(zip(without["text"], without["answer"], strict=True)) != expected


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_a_modelled_generators_answers_and_calls_are_evaluates(tiny, store, clock):
    quick = replace(JITTERY, base=0.01, prefill=0.0, per_token=0.0001)
    variant = dense(generate=Modelled(READER, quick))
    expected = evaluated(variant, tiny, store)
    found = replay(variant, tiny, [Arrival(text) for text in tiny.queries.text], clock=clock, store=store)
    for outcome in found.outcomes:
        answer, call = expected[outcome.arrival.text]
        assert outcome.answers.text[0] == answer
        assert outcome.calls == (call,)
        assert outcome.answers.made() == [call]


@pytest.mark.parametrize("cost", [None, {}])
def test_a_recordings_answers_and_times_are_those_that_were_recorded(tiny, store, tmp_path, cost):
    modelled = Modelled(READER, JITTERY)
    with cassette(tmp_path / "c.jsonl.gz", store=store) as recording:
        run(dense(generate=modelled), tiny, ["TokenF1"], store=recording)
    expected = evaluated(dense(generate=modelled), tiny, store)
    again = dense(generate=Replayed(modelled, str(tmp_path / "c.jsonl.gz")))
    assert evaluated(again, tiny, store) == expected
    for _ in range(2):
        found = replay(again, tiny, [Arrival(text) for text in tiny.queries.text], cost=cost, store=store)
        for outcome in found.outcomes:
            answer, call = expected[outcome.arrival.text]
            assert (outcome.answers.text[0], outcome.calls) == (answer, (call,))
            spent = next(event.end - event.start for event in outcome.events if event.kind == "call")
            assert spent == pytest.approx(call.seconds, abs=1e-9)


@given(
    st.dictionaries(st.sampled_from(STAGES), st.floats(0.001, 10), min_size=1),
    st.sampled_from([dense(), keywords(), hybrid(), dense(generate=Echo(cost=0.5))]),
)
@settings(max_examples=30)
def test_alone_a_request_takes_the_sum_of_its_stages(tiny, shared_store, costs, variant):
    found = replay(variant, tiny, cost=costs, store=shared_store)
    work = [n.stage for n in variant.nodes()["answer"].walk() if n.per_query and n.op != "query"]
    alone = sum(costs.get(stage, 0.0) for stage in work) + variant.generate.cost
    np.testing.assert_allclose(found.per_request["ms"], alone * 1e3, rtol=1e-9)
    for outcome in found.outcomes:
        events = [event for event in outcome.events if event.kind in ("work", "call")]
        parts = sum(event.end - event.began for event in events)
        assert parts == pytest.approx(outcome.ended - outcome.arrived, abs=1e-6)


def test_composed_latency_is_that_of_the_whole_but_for_what_no_stage_books(tiny, store):
    """Stages that were measured, put together request by request, against the same requests end to end."""
    variant = hybrid()
    results = run(variant, tiny, ["MRR@10"], timing=Timing(queries=8, repeats=5), store=store)
    composed = replay(variant, tiny, cost=RecordedCost.of(results, data=tiny), store=store).per_request
    table = results.per_query[results.per_query["variant"] == results.base].pivot_table(
        index="query", columns="metric", values="value", observed=True
    )
    stages = table[[name for name in table if name.startswith("ms[")]].sum(axis=1)
    assert np.median(stages / table["ms"]) > 0.5  # what no stage books is the smaller part, even of toys
    for name, text in zip(tiny.queries.id, tiny.queries.text, strict=True):
        ms = composed.set_index("text").loc[text, "ms"]
        assert ms == pytest.approx(stages[name], abs=1e-6)
        assert 0 < ms <= table.loc[name, "ms"]
