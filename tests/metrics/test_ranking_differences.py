"""Where evalkit differs from trec_eval on purpose, and what the awkward cases count."""

from __future__ import annotations

import pytest
import pytrec_eval
from hypothesis import given, settings
from ranking_worlds import worlds

from evalkit.metrics import evaluate


def trec_eval(run, qrels, name):
    return pytrec_eval.RelevanceEvaluator(qrels, {name}).evaluate(run)["q"][name]


def one(run, qrels, name):
    return evaluate({"q": run}, {"q": qrels}, name).means[name]


def test_ties_go_to_the_smaller_id_where_trec_eval_prefers_the_larger():
    run, qrels = {"a": 1.0, "b": 1.0}, {"a": 1}
    assert one(run, qrels, "MRR") == 1.0
    assert trec_eval({"q": run}, {"q": qrels}, "recip_rank") == 0.5


@settings(max_examples=30, deadline=None, derandomize=True)
@given(worlds)
def test_ties_agree_with_trec_eval_once_ids_are_mirrored(world):
    mirrored = {d: f"{999 - int(d[1:])}" for docs in world.run.values() for d in docs}
    mirrored |= {d: f"{999 - int(d[1:])}" for docs in world.qrels.values() for d in docs}
    straight = {d: f"{int(d[1:]):03}" for d in mirrored}
    rename = lambda table, names: {q: {names[d]: x for d, x in docs.items()} for q, docs in table.items()}  # noqa: E731
    theirs = pytrec_eval.RelevanceEvaluator(rename(world.qrels, mirrored), {"map"}).evaluate(
        rename(world.run, mirrored)
    )
    ours = evaluate(rename(world.run, straight), rename(world.qrels, straight), "MAP").per_query["MAP"]
    for query in world.qrels:
        expected = theirs[query]["map"] if query in theirs else 0.0
        assert ours[query] == pytest.approx(expected, abs=1e-9)


def test_scores_are_compared_in_double_precision_where_trec_eval_rounds_to_single():
    run, qrels = {"a": 1.0 + 1e-12, "b": 1.0}, {"a": 1}
    assert one(run, qrels, "MRR") == 1.0
    assert trec_eval({"q": run}, {"q": qrels}, "recip_rank") == 0.5
    run, qrels = {"a": 1.0, "b": 1.0 + 1e-12}, {"a": 1}
    assert one(run, qrels, "MRR") == 0.5


def test_a_judged_query_absent_from_the_run_scores_zero_where_pytrec_eval_leaves_it_out():
    run, qrels = {"q": {"a": 1.0}}, {"q": {"a": 1}, "r": {"b": 1}}
    evaluation = evaluate(run, qrels, "MRR")
    assert evaluation.means == {"MRR": 0.5}
    assert evaluation.missing == ("r",)
    assert set(pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)) == {"q"}


def test_a_query_with_an_empty_result_scores_zero_and_stays_in_the_mean():
    evaluation = evaluate({"q": ["a"], "r": []}, {"q": {"a": 1}, "r": {"b": 1}}, ["MRR", "Precision", "Judged"])
    assert evaluation.means == {"MRR": 0.5, "Precision": 0.5, "Judged": 0.5}
    assert evaluation.missing == ("r",)


def test_a_query_without_judgement_is_named_and_left_out():
    evaluation = evaluate({"q": ["a"], "x": ["a"], "y": ["b"]}, {"q": {"a": 1}, "y": {}}, "MRR")
    assert evaluation.means == {"MRR": 1.0}
    assert evaluation.left_out == ("x", "y")


@pytest.mark.parametrize("name", ["nDCG", "MRR", "MAP", "Recall", "Precision", "Hit", "RPrecision", "RBP", "ERR"])
def test_a_query_without_relevant_document_scores_zero_as_in_trec_eval(name):
    assert one(["a", "b"], {"a": 0, "b": -1, "c": 0}, name) == 0.0


def test_an_empty_run_scores_zero_for_every_judged_query():
    for run in ({}, {"q": []}, {"q": {}}):
        evaluation = evaluate(run, {"q": {"a": 1}, "r": {"a": 1}}, ["MRR", "nDCG@5", "RPrecision", "ERR", "Hit@2"])
        assert set(evaluation.means.values()) == {0.0}
        assert evaluation.missing == ("q", "r")


@pytest.mark.parametrize("name", ["nDCG", "MAP", "ERR", "RBP", "Recall@2", "Judged@2", 'nDCG(gain="exp")'])
def test_grades_below_zero_count_as_judged_and_not_relevant(name):
    for grade in (-1, -2, -7):
        assert one(["a", "b", "c"], {"a": grade, "b": 2}, name) == one(["a", "b", "c"], {"a": 0, "b": 2}, name)


def test_judged_counts_the_documents_shown_and_not_the_cutoff():
    assert one(["a", "b"], {"a": 0, "z": 1}, "Judged@10") == 0.5


def test_precision_divides_a_short_ranking_by_the_cutoff():
    assert one(["a", "b"], {"a": 1}, "Precision@10") == 0.1
    assert one(["a", "b"], {"a": 1}, "Precision") == 0.5


def test_judged_documents_outside_the_vocabulary_count_in_the_ideal():
    from evalkit.metrics import Rankings

    run = Rankings.from_arrays(["q"], [[0, 1]], vocabulary=("a", "b"))
    assert evaluate(run, {"q": {"a": 1, "gone": 1}}, "Recall").means == {"Recall": 0.5}
