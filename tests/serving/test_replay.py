from __future__ import annotations

import asyncio
import gc
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import CALLS, Echo, FailingWords, Fails, calls, dense, hybrid, keywords, pieces, small_dataset

from evalkit import EvalkitError, InputError, Service, presets, replay
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.llm import Extractive
from evalkit.serving import Arrival, Cache
from evalkit.stages import Dense, Hybrid
from evalkit.store import DiskStore

SYSTEMS = {
    "dense": dense(),
    "keywords": keywords(),
    "hybrid": hybrid(),
    "pieces": dense(chunk=pieces(), retrieve=hybrid().retrieve),
    "reader": dense(generate=Extractive(dense().retrieve.embedder)),
}


def evaluated(variant, data, store) -> dict[str, str]:
    """What evaluate answers to each question."""
    plan = make_plan({"": variant.nodes()})
    context = Context(store)
    given = sources(data, 0, store)
    done = execute(plan, given, context)
    asked = context.whole(given[next(r for r, n in plan.nodes.items() if n.op == "query")].blocks)
    answers = context.whole(done[plan.wanted[""]["answer"]].blocks)
    return dict(zip(asked.text, answers.text, strict=True))


def given_answers(found) -> list[str]:
    return found.per_request["answer"].tolist()


def at_once(data) -> list[Arrival]:
    return [Arrival(text) for text in data.queries.text]


def unit(stage: str, took: float) -> float:
    """A recorded cost: a second for everything."""
    return 1.0


@pytest.mark.parametrize("clock", ["virtual", "wall"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_replay_without_layers_gives_evaluates_answers(tiny, store, name, clock):
    expected = evaluated(SYSTEMS[name], tiny, store)
    found = replay(SYSTEMS[name], tiny, clock=clock, store=store).per_request
    assert dict(zip(found["text"], found["answer"], strict=True)) == expected
    assert len(set(expected.values())) > 1


@pytest.mark.parametrize("clock", ["virtual", "wall"])
@pytest.mark.parametrize("cores", [1, 4])
def test_many_at_once_get_the_same_answers(tiny, store, clock, cores):
    arrivals = at_once(tiny) * 3
    found = replay(hybrid(), tiny, arrivals, clock=clock, cores=cores, store=store).per_request
    expected = evaluated(hybrid(), tiny, store)
    assert len(found) == 24
    assert dict(zip(found["text"], found["answer"], strict=True)) == expected
    assert all(found["answer"] == found["text"].map(expected))


@pytest.mark.parametrize(
    ("variant", "clock"), [(presets.baseline(), "virtual"), (presets.hybrid(), "wall")], ids=["virtual", "wall"]
)
def test_the_law_holds_for_the_real_model(tiny, shared_store, variant, clock):
    expected = evaluated(variant, tiny, shared_store)
    found = replay(variant, tiny, at_once(tiny), clock=clock, cores=2, store=shared_store).per_request
    assert dict(zip(found["text"], found["answer"], strict=True)) == expected


def test_a_replay_takes_from_the_store_what_evaluate_built(tiny, store):
    evaluated(dense(), tiny, store)
    before = sorted(store.folder.glob("objects/*/*"))
    replay(dense(), tiny, store=store)
    assert sorted(store.folder.glob("objects/*/*")) == before


def test_an_answer_cache_changes_no_answer_and_repeated_questions_hit(tiny, store):
    arrivals = [Arrival(text, at=float(i)) for i, text in enumerate([*tiny.queries.text] * 2)]
    cached = replay(Service(hybrid(), (Cache(),)), tiny, arrivals, cost=lambda s, t: 0.01, store=store)
    assert given_answers(cached) == given_answers(replay(hybrid(), tiny, arrivals, store=store))
    assert cached.per_request["cache[answer]"].tolist() == ["miss"] * 8 + ["hit"] * 8
    assert (cached.per_request["ms"][8:] == 0).all()


@pytest.mark.parametrize("at", ["retrieve", "prompt", "answer"])
def test_a_cache_at_any_seam_saves_what_lies_below_it(tiny, store, at, monkeypatch, tmp_path):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    question = tiny.queries.text[0]
    arrivals = [Arrival(question, at=0), Arrival(question, at=100)]
    found = replay(Service(hybrid(), (Cache(at=at),)), tiny, arrivals, cost=unit, store=store)
    # embed, search twice, fuse, assemble, generate, one core: 6 s
    spared = {"retrieve": 2000, "prompt": 1000, "answer": 0}[at]
    assert found.per_request["ms"].tolist() == [6000, spared]
    assert len(calls()) == (1 if at == "answer" else 2)
    assert len(set(given_answers(found))) == 1


def test_what_two_nodes_need_is_worked_on_once_a_request(tiny, store):
    embedder = dense().retrieve.embedder
    twice = dense(retrieve=Hybrid(Dense(embedder, k=8), Dense(embedder, k=4)))
    found = replay(twice, tiny, [Arrival("a dog")], cost=unit, store=store)
    # embed once, search twice, fuse, assemble, generate
    assert found.per_request["ms"].tolist() == [6000]


def test_layers_nest_the_first_one_outermost(tiny, store):
    question = tiny.queries.text[0]
    arrivals = [Arrival(question), Arrival(question, at=100), Arrival(question, at=200)]
    layers = (Cache(ttl=150), Cache(at="retrieve"))
    found = replay(Service(hybrid(), layers), tiny, arrivals, cost=unit, store=store).per_request
    assert found["cache[answer]"].tolist() == ["miss", "hit", "miss"]
    assert found["cache[retrieve]"].fillna("").tolist() == ["miss", "", "hit"]


def test_two_replays_of_one_service_share_no_state(tiny, store):
    service = Service(dense(), (Cache(),))
    arrivals = [Arrival(tiny.queries.text[0], at=t) for t in (0.0, 50.0)]
    for _ in range(2):
        found = replay(service, tiny, arrivals, cost=unit, store=store).per_request
        assert found["cache[answer]"].tolist() == ["miss", "hit"]


def test_recorded_costs_give_the_same_times_to_the_bit(tiny, store):
    rng = np.random.default_rng(5)
    arrivals = [
        Arrival(tiny.queries.text[int(i)], at=float(t))
        for i, t in zip(rng.integers(0, 8, 60), np.sort(rng.exponential(0.3, 60)).cumsum(), strict=True)
    ]
    costs = {"embed": 0.011, "search": 0.0031, "fuse": 0.0007, "assemble": 0.0002, "generate": 0.123}
    service = Service(hybrid(), (Cache(ttl=40),))
    runs = [
        replay(service, tiny, arrivals, cost=lambda s, t: costs[s], cores=2, store=store).per_request
        for _ in range(2)
    ]
    assert runs[0].equals(runs[1])
    assert runs[0]["arrived"].is_monotonic_increasing
    assert runs[0]["ms"].nunique() > 2


def test_cores_limit_what_runs_at_once(store):
    # keyword search, assemble and generate: 3 pieces of a second each, asked three times at once
    arrivals = [Arrival("red apples"), Arrival("pears fall"), Arrival("blue plums")]
    ended = {
        cores: replay(keywords(), small_dataset(), arrivals, cores=cores, cost=unit, store=store).per_request["ended"]
        for cores in (1, 2, 3)
    }
    # one core, first come first served: searches end at 1, 2, 3, prompts at 4, 5, 6, answers at 7, 8, 9
    assert ended[1].tolist() == [7.0, 8.0, 9.0]
    # two cores: searches end at 1, 1, 2; the first two requests' prompts wait for the third's search
    assert ended[2].tolist() == [4.0, 4.0, 5.0]
    assert ended[3].tolist() == [3.0, 3.0, 3.0]


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12),
    st.integers(1, 3),
    st.sampled_from([0.5, 1.0, 2.0]),
)
@settings(max_examples=25)
def test_work_is_conserved(tiny, shared_store, times, cores, cost):
    arrivals = [Arrival(tiny.queries.text[i % 8], at=float(t)) for i, t in enumerate(times)]
    found = replay(keywords(), tiny, arrivals, cores=cores, cost=lambda s, t: cost, store=shared_store).per_request
    alone = 3 * cost
    assert (found["ms"] >= alone * 1000).all()
    # no core idles while work waits, so all is done within the work's sum after the last arrival
    assert found["ended"].max() <= max(times) + alone * len(times)
    assert found["ended"].max() >= min(times) + alone * len(times) / cores
    assert found["arrived"].tolist() == sorted(map(float, times))
    np.testing.assert_allclose(found["ms"], (found["ended"] - found["arrived"]) * 1e3)


def test_time_is_counted_from_when_a_question_was_due(store):
    arrivals = [Arrival("red apples", at=10.0), Arrival("red apples", at=10.5)]
    found = replay(keywords(), small_dataset(), arrivals, cost=unit, store=store).per_request
    assert found["arrived"].tolist() == [10.0, 10.5]
    assert found["ended"].tolist() == [15.0, 16.0]
    assert found["ms"].tolist() == [5000.0, 5500.0]


def test_time_is_counted_from_when_a_question_was_due_on_the_wall_clock_too(store):
    arrivals = [Arrival("red apples", at=0.0), Arrival("red apples", at=0.01)]
    found = replay(keywords(), small_dataset(), arrivals, clock="wall", store=store).per_request
    assert found["arrived"].tolist() == pytest.approx([0.0, 0.01])
    assert found["ms"].tolist() == pytest.approx(((found["ended"] - [0.0, 0.01]) * 1e3).tolist())


def test_without_arrivals_each_query_waits_for_the_one_before(store):
    found = replay(keywords(), small_dataset(), cost=unit, store=store).per_request
    assert found["arrived"].tolist() == [0.0, 3.0, 6.0, 9.0]
    assert (found["ms"] == 3000).all()
    assert found["text"].tolist() == list(small_dataset().queries.text)


def test_a_generators_own_waiting_passes_on_the_clock(store):
    variant = keywords()
    waiting = dense(retrieve=variant.retrieve, generate=Echo(cost=7.0))
    found = replay(waiting, small_dataset(), [Arrival("red apples")] * 5, cores=5, cost=unit, store=store)
    assert found.per_request["ms"].tolist() == [10_000] * 5


def test_summaries_say_what_is_modelled_and_what_is_measured(tiny, store):
    modelled, measured = (replay(dense(), tiny, cost=cost, store=store) for cost in (unit, None))
    assert (modelled.origin, measured.origin) == ("modelled", "measured")
    assert set(modelled.summary["origin"]) == {"modelled"}
    assert list(modelled.summary) == ["metric", "value", "low", "high", "n", "unit", "origin"]
    assert modelled.summary.set_index("metric").loc["Mean", "value"] == 4000
    assert (measured.per_request["ms"] > 0).all()


def test_replay_runs_inside_a_running_event_loop(tiny, store):
    expected = evaluated(dense(), tiny, store)

    async def notebook(clock):
        return replay(dense(), tiny, clock=clock, store=store)

    for clock in ("virtual", "wall"):
        found = asyncio.run(notebook(clock)).per_request
        assert dict(zip(found["text"], found["answer"], strict=True)) == expected


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_a_stage_that_fails_is_named_and_nothing_is_left_running(tiny, store, clock, caplog, monkeypatch, tmp_path):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    with pytest.raises(EvalkitError) as caught, caplog.at_level(logging.ERROR):
        replay(dense(generate=Fails(after=2)), tiny, at_once(tiny), clock=clock, store=store)
    assert str(caught.value) == "generate (Fails): RuntimeError: the quota is spent"
    with pytest.raises(EvalkitError, match=r"^embed \(FailingWords\): RuntimeError: no memory left$"):
        replay(dense(retrieve=Dense(FailingWords())), tiny, at_once(tiny), clock=clock, store=store)
    gc.collect()
    assert not [record for record in caplog.records if "Task" in record.getMessage()]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"clock": "sundial"}, "clock is 'virtual' or 'wall'"),
        ({"cores": 0}, "cores at least 1"),
        ({"traffic": []}, "no arrivals"),
        ({"traffic": [("x", -1)]}, "before the start"),
        ({"traffic": [("x", float("nan"))]}, "at no time"),
        ({"traffic": [("x", float("inf"))]}, "at no time"),
        ({"clock": "wall", "cost": unit}, "clock='virtual' only"),
    ],
)
def test_wrong_traffic_is_refused_before_any_work(tiny, store, wrong, what):
    def ask() -> None:
        made = {**wrong, "traffic": [Arrival(*one) for one in wrong["traffic"]]} if "traffic" in wrong else wrong
        replay(dense(), tiny, store=store, **made)

    with pytest.raises(InputError, match=what):
        ask()
    assert not list(store.folder.glob("objects/*/*"))


def test_traffic_from_a_store_of_another_process_is_the_same(tiny, store):
    first = replay(hybrid(), tiny, cost=unit, store=store)
    again = replay(hybrid(), tiny, cost=unit, store=DiskStore(store.folder))
    assert first.per_request.equals(again.per_request)
