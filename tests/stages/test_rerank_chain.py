"""Rerankers together: in a chain, in a spec, in a plan."""

from __future__ import annotations

import numpy as np
import pytest
from toys import HashedWords, count_calls, dense

from evalkit import Sweep, Variant, run
from evalkit.errors import InputError, InputErrors
from evalkit.evaluate.plan import Cut, make_plan
from evalkit.evaluate.score import targets
from evalkit.metrics import parse
from evalkit.stages import BM25, MMR, Chain, Cutoff, LateInteraction, RedundancyFilter
from evalkit.stages.index.flat import FlatSearch
from evalkit.stages.rerank.late_interaction import ScoreTokens
from evalkit.stages.rerank.mmr import SelectMMR
from evalkit.stages.rerank.tokens import EmbedTokens
from evalkit.testing import check_component, check_reranker
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node

RANKING = Node("query")
WORDS = HashedWords()


def nodes_of(variants):
    plan = make_plan({str(i): targets(v, (parse("MRR@10"),), False) for i, v in enumerate(variants)})
    return plan.work


def test_a_chain_is_each_step_over_the_ranking_of_the_one_before():
    steps = (RedundancyFilter(WORDS), MMR(WORDS), Cutoff(3))
    node = RANKING
    for step in steps:
        node = step.expand(CORPUS, QUERY, node)
    assert Chain(steps).expand(CORPUS, QUERY, RANKING) == node
    assert Chain((Chain(steps[:2]), steps[2])).expand(CORPUS, QUERY, RANKING) == node
    assert Chain(steps[::-1]).expand(CORPUS, QUERY, RANKING) != node


def test_a_chain_of_nothing_is_the_ranking_itself():
    assert Chain(()).expand(CORPUS, QUERY, RANKING) is RANKING


def test_a_chain_conforms():
    chain = Chain([Cutoff(20), RedundancyFilter(WORDS), MMR(WORDS, k=5, depth=None)])
    assert isinstance(chain.steps, tuple)
    check_component(chain)
    check_reranker(chain)


def test_a_step_that_is_no_reranker_is_refused():
    with pytest.raises(InputError, match="Chain: BM25 is no reranker"):
        Chain((BM25(),))


def test_a_chain_can_be_written_in_a_spec():
    written = {"Chain": {"steps": [{"Cutoff": {"k": 7}}, "RedundancyFilter", {"MMR": {"balance": 0.5, "k": 3}}]}}
    assert Variant(rerank=written).rerank == Chain((Cutoff(7), RedundancyFilter(), MMR(balance=0.5, k=3)))
    with pytest.raises(InputErrors, match="BM25 cannot stand here"):
        Variant(rerank={"Chain": {"steps": ["BM25"]}})


def test_a_reranked_variant_ranks_what_its_retriever_found(tiny, store):
    variants = [None, Cutoff(2), RedundancyFilter(WORDS), MMR(WORDS, k=4), Chain((Cutoff(5), MMR(WORDS, k=4)))]
    results = run(Sweep(dense(k=8), {"rerank": variants}), tiny, ["Recall@10"], store=store)
    found = results.summary.query("metric == 'Recall@10'")["value"].to_numpy()
    assert len(found) == len(variants)
    assert (found <= found[0]).all()
    assert (found > 0).all()


def test_one_search_and_one_choice_serve_every_k_under_a_reranker():
    work = nodes_of([dense(k=k, rerank=MMR(WORDS, k=j)) for k in (20, 50, 100) for j in (5, 10)])
    assert [n.op.k for n in work if isinstance(n.op, FlatSearch)] == [100]
    assert [n.op.k for n in work if isinstance(n.op, SelectMMR)] == [10, 10, 10]
    assert sorted(n.op.k for n in work if isinstance(n.op, Cut)) == [5, 5, 5, 20, 50]


def test_pairs_are_scored_once_for_every_depth_and_passages_embedded_once():
    variants = [dense(k=100, rerank=LateInteraction(k=k, depth=d)) for d in (20, 50, 100) for k in (5, 10)]
    work = nodes_of(variants)
    assert [n.op.k for n in work if isinstance(n.op, ScoreTokens)] == [100]
    assert len([n for n in work if isinstance(n.op, EmbedTokens)]) == 2
    assert sorted(n.op.k for n in work if isinstance(n.op, Cut)) == [5, 5, 5, 20, 50]


def test_what_is_shared_gives_what_each_would_have_got_alone(tiny, monkeypatch):
    counted = count_calls(monkeypatch, ScoreTokens, EmbedTokens, FlatSearch)
    sides = {CORPUS.recipe: tiny.documents, QUERY.recipe: tiny.queries}
    ends = {
        (deep, depth, k): dense(k=deep, rerank=LateInteraction(max_length=64, k=k, depth=depth)).nodes()["retrieve"]
        for deep in (9, 12) for depth in (3, 7, None) for k in (2, 3)
    }  # fmt: skip
    plan = make_plan({str(at): {"": node} for at, node in ends.items()})
    shared = dict(sides)
    found = {at: run_node(plan.nodes[plan.wanted[str(at)][""]], shared) for at in ends}
    assert counted == {"ScoreTokens": 1, "EmbedTokens": 2, "FlatSearch": 1}  # of the deepest ranking
    ready = {recipe: value for recipe, value in shared.items() if not plan.nodes[recipe].per_query}
    for at, node in ends.items():
        assert run_node(node, {**sides, **ready}).digest == found[at].digest
        assert np.diff(found[at].items.offsets).max() == at[2]
