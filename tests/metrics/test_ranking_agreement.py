"""Ranking metrics against trec_eval (by pytrec_eval and ir_measures), over 10,000 random queries."""

from __future__ import annotations

import ir_measures
import pytest
import pytrec_eval
from hypothesis import HealthCheck, given, settings
from ranking_worlds import QUERIES, World, make_world, worlds

from evalkit.metrics import evaluate

TREC = {
    "nDCG@1": "ndcg_cut_1",
    "nDCG@5": "ndcg_cut_5",
    "nDCG@100": "ndcg_cut_100",
    "nDCG": "ndcg",
    "MRR": "recip_rank",
    "MAP": "map",
    "MAP@5": "map_cut_5",
    "Recall": "set_recall",
    "Recall@5": "recall_5",
    "Precision": "set_P",
    "Precision@5": "P_5",
    "Precision@100": "P_100",
    "Hit@1": "success_1",
    "Hit@5": "success_5",
    "RPrecision": "Rprec",
}
IR_MEASURES = {
    "nDCG@5": "nDCG@5",
    "MRR@5": "RR@5",
    "MAP": "AP",
    "Recall@5": "R@5",
    "Precision@5": "P@5",
    "Hit@5": "Success@5",
    "RPrecision": "Rprec",
    "Judged@5": "Judged@5",
    "Judged": "Judged",
    "MAP(min_relevance=3)@5": "AP(rel=3)@5",
}
many = settings(
    max_examples=10_000 // QUERIES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def trec_eval(world: World, measures: set[str], level: int = 1) -> dict[str, dict[str, float]]:
    return pytrec_eval.RelevanceEvaluator(world.qrels, measures, relevance_level=level).evaluate(world.untied())


@many
@given(worlds)
def test_each_query_agrees_with_pytrec_eval_to_nine_digits(world):
    theirs = trec_eval(world, {name.replace("_cut_", "_cut.") for name in TREC.values()} | {"recall.5", "P.5,100"})
    ours = evaluate(world.run, world.qrels, list(TREC)).per_query
    for metric, name in TREC.items():
        for query in world.qrels:
            expected = theirs[query][name] if query in theirs else 0.0
            assert ours.at[query, metric] == pytest.approx(expected, abs=1e-9), (metric, query)


@many
@given(worlds)
def test_each_query_agrees_with_ir_measures_to_nine_digits(world):
    measures = {str(ir_measures.parse_measure(name)): metric for metric, name in IR_MEASURES.items()}
    ours = evaluate(world.run, world.qrels, list(IR_MEASURES)).per_query
    seen = 0
    for result in ir_measures.iter_calc(
        [ir_measures.parse_measure(name) for name in measures], world.qrels, world.untied()
    ):
        if result.query_id in world.qrels:
            value = ours.at[result.query_id, measures[str(result.measure)]]
            assert value == pytest.approx(result.value, abs=1e-9), result
            seen += 1
    assert seen >= len(measures)


@many
@given(worlds)
def test_a_minimum_relevance_agrees_with_the_relevance_level_of_trec_eval(world):
    theirs = trec_eval(world, {"map", "P.5", "recip_rank", "Rprec"}, level=3)
    ours = evaluate(
        world.run,
        world.qrels,
        [f"{name}(min_relevance=3)" for name in ("MAP", "MRR", "RPrecision")] + ["Precision(min_relevance=3)@5"],
    )
    names = ["map", "recip_rank", "Rprec", "P_5"]
    for column, query in enumerate(ours.queries):
        if query in theirs:
            expected = [theirs[query][name] for name in names]
            assert ours.values[:, column] == pytest.approx(expected, abs=1e-9)


@many
@given(worlds)
def test_exponential_gain_is_linear_gain_on_raised_grades(world):
    raised = {q: {d: 2 ** max(g, 0) - 1 for d, g in docs.items()} for q, docs in world.qrels.items()}
    theirs = pytrec_eval.RelevanceEvaluator(raised, {"ndcg_cut.5"}).evaluate(world.untied())
    ours = evaluate(world.run, world.qrels, 'nDCG(gain="exp")@5').per_query.iloc[:, 0]
    for query, value in ours.items():
        expected = theirs[query]["ndcg_cut_5"] if query in theirs else 0.0
        assert value == pytest.approx(expected, abs=1e-9)


@many
@given(worlds)
def test_rbp_and_err_follow_their_papers(world):
    ours = evaluate(world.run, world.qrels, ["RBP@7", "RBP(persistence=0.5)", "ERR@7"]).per_query
    for query, docs in world.ordered().items():
        if query not in world.qrels:
            continue
        grades = [max(world.qrels[query].get(d, 0), 0) for d in docs]
        rbp = sum(0.2 * 0.8**i for i, g in enumerate(grades[:7]) if g >= 1)
        half = sum(0.5 * 0.5**i for i, g in enumerate(grades) if g >= 1)
        err, reads = 0.0, 1.0
        for rank, grade in enumerate(grades[:7], start=1):
            stops = (2**grade - 1) / 16
            err, reads = err + reads * stops / rank, reads * (1 - stops)
        assert list(ours.loc[query]) == pytest.approx([rbp, half, err], abs=1e-12)


def test_err_and_exponential_ndcg_agree_with_gdeval_to_its_five_digits():
    world = make_world(7, 20, 1000, 0.0, 0)
    numbered = {q: q.removeprefix("q") for q in world.qrels}
    measures = [ir_measures.parse_measure("ERR@10"), ir_measures.parse_measure("nDCG(dcg='exp-log2')@10")]
    qrels = {numbered[q]: docs for q, docs in world.qrels.items()}
    run = {numbered[q]: docs for q, docs in world.untied().items() if q in numbered}
    ours = evaluate(run, qrels, ["ERR@10", 'nDCG(gain="exp")@10']).per_query
    columns = dict(zip(map(str, measures), ours.columns, strict=True))
    seen = 0
    for result in ir_measures.iter_calc(measures, qrels, run):
        assert ours.at[result.query_id, columns[str(result.measure)]] == pytest.approx(result.value, abs=1e-5)
        seen += 1
    assert seen == 2 * QUERIES
