from __future__ import annotations

import math

import pytest
from toys import dense, hybrid, keywords, small_dataset

from evalkit import InputError, Timing, replay, run
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.evaluate.timing import corpus_nodes, measure
from evalkit.serving import Arrival
from evalkit.serving.costs import RecordedCost, operations_of

ROWS = [{"embed": 0.5, "search": 0.25}, {"embed": 0.125, "search": 4.0}, {"embed": 1.0, "search": 0.5}]


def timed(variant, data, store):
    return run(variant, data, ["MRR@10"], timing=Timing(queries=8, repeats=2, warmup=1), store=store)


def at_once(data, times=1):
    return [Arrival(text, at=50.0 * i) for i, text in enumerate([*data.queries.text] * times)]


def test_a_question_that_was_measured_takes_what_it_took(tiny, store):
    results = timed(dense(), tiny, store)
    found = replay(dense(), tiny, at_once(tiny, 2), cost=RecordedCost.of(results, data=tiny), store=store)
    measured = results.per_query.pivot_table(index="query", columns="metric", values="value", observed=True)
    names = dict(zip(tiny.queries.text, tiny.queries.id, strict=True))
    for outcome in found.outcomes:
        row = measured.loc[names[outcome.arrival.text]]
        spent = {event.name: (event.end - event.began) * 1e3 for event in outcome.events if event.kind == "work"}
        assert set(spent) == {"embed", "search", "assemble"}
        assert all(ms == pytest.approx(row[f"ms[{stage}]"], abs=1e-6) for stage, ms in spent.items())


def test_operations_of_one_stage_share_its_time(tiny, store):
    assert operations_of(hybrid()) == {"embed": 1, "search": 2, "fuse": 1, "assemble": 1, "generate": 1}
    cost = RecordedCost([{"search": 6.0}], operations=operations_of(hybrid()))
    found = replay(hybrid(), tiny, [Arrival("a dog")], cost=cost, store=store)
    assert found.per_request["ms"].tolist() == [6000]


def test_all_stages_of_a_request_come_from_one_sample(tiny, store):
    found = replay(dense(), tiny, at_once(tiny), cost=RecordedCost(ROWS), store=store)
    seen = {round(ms) for ms in found.per_request["ms"]}
    assert seen <= {750, 4125, 1500}
    assert len(seen) > 1


def test_the_draw_depends_on_the_question_and_the_seed_and_on_nothing_else(tiny, store):
    def times(seed, arrivals):
        found = replay(dense(), tiny, arrivals, cost=RecordedCost(ROWS, seed=seed), cores=4, store=store).per_request
        return dict(zip(found["text"], found["ms"].round(6), strict=True))

    first = times(0, at_once(tiny))
    assert times(0, at_once(tiny)[::-1]) == first
    assert times(0, at_once(tiny)[3:6]) == {text: first[text] for text in list(tiny.queries.text)[3:6]}
    assert any(times(seed, at_once(tiny)) != first for seed in (1, 2, 3))


def test_every_sample_is_drawn_about_equally_often():
    cost, drawn = RecordedCost(ROWS), [0, 0, 0]
    for i in range(3000):
        drawn[ROWS.index(cost.sample(f"question {i}"))] += 1
    assert all(abs(n - 1000) < 5 * math.sqrt(3000 * 2 / 9) for n in drawn)


def test_single_requests_samples_are_kept_apart(tiny, store):
    variant, context = dense(), Context(store)
    plan = make_plan({"": {node.recipe: node for node in corpus_nodes(variant)}})
    done = execute(plan, sources(tiny, 0, store), context)
    samples = measure({"": variant}, "", tiny, done, context, Timing(queries=8, repeats=3), seed=0)[""]
    cost = RecordedCost.of_samples(samples, variant, tiny)
    assert len(cost.samples) == 24
    assert {len(rows) for rows in cost.questions.values()} == {3}
    for text, rows in cost.questions.items():
        assert cost.sample(text) in [cost.samples[i] for i in rows]
    stages, spent = samples.stages[0], samples.spent[0]
    assert cost.samples[0] == {stage: int(ns) / 1e9 for stage, ns in zip(stages, spent, strict=True)}


def test_without_samples_there_is_no_cost(tiny, store):
    results = run(dense(), tiny, ["MRR@10"], store=store)
    with pytest.raises(InputError, match="no samples; measure latency first"):
        RecordedCost.of(results)


def test_a_replay_at_recorded_cost_is_the_same_to_the_bit(tiny, store):
    cost = RecordedCost.of(timed(hybrid(), tiny, store), data=tiny)
    first, again = (replay(hybrid(), tiny, at_once(tiny, 3), cost=cost, cores=2, store=store) for _ in range(2))
    assert first.per_request.equals(again.per_request)
    assert first.digest == again.digest


def test_work_that_is_stated_to_be_free_waits_for_no_core(store):
    # a search of a second each on one core; what is free does not stand in line behind the next one's search
    arrivals = [Arrival("red apples"), Arrival("pears fall"), Arrival("blue plums")]
    found = replay(keywords(), small_dataset(), arrivals, cost={"search": 1.0}, store=store).per_request
    assert found["ended"].tolist() == [1.0, 2.0, 3.0]
