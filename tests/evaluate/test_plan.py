from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Echo, HashedWords, count_calls, dense, hybrid, keywords, pieces

from evalkit import Sweep, Timing, run
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, preview, sources
from evalkit.evaluate.plan import Cut, make_plan
from evalkit.evaluate.score import targets
from evalkit.evaluate.timing import corpus_nodes
from evalkit.metrics import parse
from evalkit.stages import BM25, Dense, Whole
from evalkit.stages.index.flat import FlatBuild, FlatSearch
from evalkit.stages.retrieve.bm25 import BM25Search

RANKING, ANSWERS = (parse("MRR@10"),), (parse("MRR@10"), parse("TokenF1"))


def plan_of(variants, metrics=ANSWERS, timed=False):
    return make_plan({label: targets(v, metrics, timed) for label, v in variants.items()})


def stages(plan) -> Counter[str]:
    return Counter(node.stage for node in plan.work)


def test_equal_nodes_stand_once_and_inputs_before_what_needs_them():
    plan = plan_of({"dense": dense(k=8), "again": dense(k=8), "keywords": keywords(8), "hybrid": hybrid()})
    recipes = list(plan.nodes)
    assert len(set(recipes)) == len(recipes)
    assert all(recipe == node.recipe for recipe, node in plan.nodes.items())
    for i, node in enumerate(plan.nodes.values()):
        assert {parent.recipe for parent in node.inputs} <= set(recipes[:i])
    assert plan.wanted["dense"] == plan.wanted["again"]
    # one chunking, one embedding a side, one index a kind; hybrid searches with what the other two searched with
    assert stages(plan)["chunk"] == 1
    assert stages(plan)["embed"] == 2
    assert stages(plan)["index"] == 2
    assert stages(plan)["search"] == 2
    assert stages(plan)["fuse"] == 1


def test_the_deepest_k_is_searched_once_and_the_others_are_its_heads():
    plan = plan_of({str(k): dense(k=k) for k in (1, 3, 5, 10)}, RANKING)
    searches = [node for node in plan.work if isinstance(node.op, FlatSearch)]
    cuts = [node for node in plan.work if isinstance(node.op, Cut)]
    assert [node.op.k for node in searches] == [10]
    assert sorted(node.op.k for node in cuts) == [1, 3, 5]
    assert all(node.inputs == (searches[0],) for node in cuts)
    assert plan.wanted["10"]["retrieve"] == searches[0].recipe


def test_a_search_is_deepened_only_within_its_own_family():
    others = [dense(k=4), dense(k=9, chunk=pieces()), dense(retrieve=Dense(HashedWords(32), k=7)), keywords(6)]
    plan = plan_of({str(i): v for i, v in enumerate([*others, dense(retrieve=BM25(b=0.1, k=5))])}, RANKING)
    assert sorted(n.op.k for n in plan.work if n.stage == "search") == [4, 5, 6, 7, 9]
    assert not any(isinstance(node.op, Cut) for node in plan.work)
    fused = plan_of({"a": hybrid(k=3, alpha=0.2), "b": hybrid(k=6, alpha=0.8), "c": hybrid(k=4, alpha=0.8)}, RANKING)
    assert sorted(n.op.k for n in fused.work if n.stage == "fuse") == [3, 6]


def test_the_deepest_k_runs_once(monkeypatch, tiny, store):
    counted = count_calls(monkeypatch, FlatSearch, FlatBuild, HashedWords, BM25Search, Whole)
    run(Sweep(dense(), {"retrieve.k": [1, 3, 5, 10]}), tiny, ["MRR@10"], store=store)
    assert counted == {"FlatSearch": 1, "FlatBuild": 1, "HashedWords": 2, "Whole": 1}


def test_retrievers_share_what_they_build_on(monkeypatch, tiny, store):
    counted = count_calls(monkeypatch, FlatSearch, FlatBuild, HashedWords, BM25Search, Whole)
    variants = [Dense(HashedWords(), k=8), BM25(k=8), hybrid(alpha=0.3).retrieve, hybrid(alpha=0.6).retrieve]
    run(Sweep(dense(), {"retrieve": variants}), tiny, ["MRR@10"], store=store)
    assert counted == {"FlatSearch": 1, "FlatBuild": 1, "HashedWords": 2, "BM25Search": 1, "Whole": 1}


def test_build_time_and_query_time_parameters_are_told_apart():
    same = [corpus_nodes(v) for v in (dense(k=3), dense(k=4, generate=Echo(cost=1.0)))]
    assert same[0] == same[1]
    other = corpus_nodes(dense(chunk=pieces()))
    assert {n.stage for n in set(same[0]) & set(other)} == {"corpus"}
    assert not any(node.per_query for node in same[0])


def test_only_what_the_metrics_need_is_planned():
    assert "generate" not in stages(plan_of({"": dense()}, RANKING))
    assert {"assemble", "generate"} <= set(stages(plan_of({"": dense()}, ANSWERS)))
    untimed, timed = (set(plan_of({"": dense()}, (parse("TokenF1"),), timed).nodes) for timed in (False, True))
    assert untimed <= timed


many = st.lists(
    st.builds(dense, k=st.integers(1, 6), generate=st.sampled_from([Echo(), Echo(cost=1.0)]))
    | st.builds(keywords, k=st.integers(1, 6))
    | st.builds(hybrid, k=st.integers(1, 6), alpha=st.sampled_from([0.2, 0.8])),
    min_size=1,
    max_size=6,
)


@given(many, st.sampled_from([RANKING, ANSWERS]), st.booleans())
@settings(max_examples=60)
def test_a_plan_never_holds_more_work_than_was_asked_for(variants, metrics, timed):
    plan = plan_of({str(i): v for i, v in enumerate(variants)}, metrics, timed)
    alone = [plan_of({"": v}, metrics, timed) for v in variants]
    assert len(plan.work) <= plan.asked
    assert plan.asked == sum(p.asked for p in alone)
    assert set(plan.wanted) == {str(i) for i in range(len(variants))}
    assert all(recipe in plan.nodes for ends in plan.wanted.values() for recipe in ends.values())


@pytest.mark.parametrize("before", [None, {"a": dense()}, {"a": dense(), "b": dense(chunk=pieces())}])
def test_the_preview_says_what_a_run_then_does(monkeypatch, tiny, store, before):
    if before:
        execute(plan_of(before), sources(tiny, 0, store), Context(store))
    plan = plan_of({"dense": dense(k=5), "pieces": dense(chunk=pieces()), "keywords": keywords()})
    counted = count_calls(monkeypatch, FlatSearch, FlatBuild, HashedWords, BM25Search, Whole)
    said = preview(plan, sources(tiny, 0), store)
    assert not counted
    done = execute(plan, sources(tiny, 0, store), Context(store))
    assert set(said) == {node.recipe for node in plan.work}
    for recipe, stored in said.items():
        if stored:  # a node may also turn out equal to a stored one: then the preview is on the safe side
            assert done[recipe].from_store == len(done[recipe].blocks)
    assert preview(plan, sources(tiny, 0), store) == dict.fromkeys(said, True)
    assert any(said.values()) == bool(before)


def test_a_timed_run_prepares_all_that_a_request_needs(tiny, store):
    results = run(dense(), tiny, ["MRR@10"], timing=Timing(2), store=store)
    assert results.manifest["plan"]["nodes distinct"] == len(plan_of({"": dense()}, RANKING, True).work)
