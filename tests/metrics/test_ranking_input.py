"""Wrong input to ranking metrics is refused in one line that says what, where and what to do."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from evalkit.metrics import MetricError, Qrels, Rankings, evaluate

QRELS = {"q": {"a": 1, "b": 0}}


def refused(message, run=None, qrels=QRELS, metrics="MRR"):
    with pytest.raises(MetricError, match=re.escape(message)) as caught:
        evaluate({"q": {"a": 1.0}} if run is None else run, qrels, metrics)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_refused(score):
    refused("not finite", {"q": {"a": 1.0, "b": score}})


@pytest.mark.parametrize("score", [None, "high", [1.0]])
def test_scores_that_are_not_numbers_are_refused(score):
    refused("score", {"q": {"a": score}})


def test_an_unknown_metric_offers_the_nearest_name():
    refused("did you mean 'nDCG'", metrics=["MRR", "NDGC@3"])


def test_a_metric_of_other_records_is_refused():
    refused("computed from latency", metrics="P95")


@pytest.mark.parametrize("qrels", [{}, {"q": {}}])
def test_empty_judgements_are_refused(qrels):
    refused("judgements are empty", qrels=qrels)


def test_judgements_of_other_queries_than_the_run_are_refused():
    refused("no query of the run is judged: the run has 'q', the judgements '1'", qrels={"1": {"a": 1}})


def test_query_ids_of_mixed_types_are_refused():
    refused("query ids are of types int, str", {"q": ["a"], 3: ["a"]})


def test_document_ids_of_mixed_types_are_refused():
    refused("document ids are of types int, str", {"q": ["a", 3]})
    refused("document ids are of types int, str", qrels={"q": {"a": 1, 3: 0}})


def test_numbers_against_names_are_refused():
    refused("documents are numbers in the run and names in the judgements", {"q": [1, 2]})
    refused("documents are numbers in the judgements and names in the run", qrels={"q": {1: 1}})


def test_negative_document_numbers_are_refused():
    refused("document id -3 is negative", {"q": [1, -3]}, {"q": {1: 1}})


def test_huge_document_numbers_are_refused():
    refused("is too large", {"q": [2**62]}, {"q": {2**62: 1}})


def test_a_repeated_document_is_refused():
    refused("document 'a' occurs twice for query 'q'", {"q": ["a", "b", "a"]})
    refused("document 7 occurs twice for query 'r'", {"q": [7], "r": [7, 8, 7]}, {"q": {7: 1}})


def test_a_document_judged_twice_is_refused():
    for documents in (["a", "a"], [4, 4]):
        with pytest.raises(MetricError, match="judged twice for query 'q'"):
            Qrels(["q"], documents, [0, 2], [1, 0])


def test_a_repeated_query_is_refused():
    with pytest.raises(MetricError, match="query 'q' occurs twice"):
        Rankings.from_arrays(["q", "q"], [[1], [2]])
    with pytest.raises(MetricError, match="query occurs twice"):
        Qrels(["q", "q"], ["a", "b"], [0, 1, 2], [1, 1])


def test_grades_that_are_not_finite_are_refused():
    refused("grade nan", qrels={"q": {"a": float("nan")}})


def test_grades_beyond_the_scale_are_refused():
    refused("exceeds max_grade=4; raise max_grade", qrels={"q": {"a": 5}}, metrics="ERR")
    refused("is no exponent", qrels={"q": {"a": 100}}, metrics='nDCG(gain="exp")')


def test_dicts_and_lists_are_not_mixed():
    refused("every query a dict of scores, or every query a list", {"q": {"a": 1.0}, "r": ["a"]})
    refused("every query a dict of scores, or every query a list", {"q": "a"})
    refused("give {document: grade}", qrels={"q": ["a"]})


@pytest.mark.parametrize("thing", [None, 3, [("q", "a")]])
def test_other_forms_are_refused(thing):
    with pytest.raises(MetricError, match="a run cannot be read from"):
        Rankings.of(thing)
    with pytest.raises(MetricError, match="judgements cannot be read from"):
        Qrels.of(thing)


def test_frames_without_a_column_are_refused():
    refused("no column 'document'", pd.DataFrame({"query": ["q"], "doc": ["a"]}))
    refused("rows without query", pd.DataFrame({"query": ["q", None], "document": ["a", "b"]}))


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(MetricError, match="2 offsets for 2 queries"):
        Rankings.from_arrays(["q", "r"], np.array([1, 2]), [0, 2])
    with pytest.raises(MetricError, match="offsets must rise"):
        Rankings.from_arrays(["q"], np.array([1, 2]), [0, 3])
    with pytest.raises(MetricError, match="1 values for 2 documents"):
        Rankings.from_arrays(["q"], np.array([1, 2]), [0, 2], np.array([1.0]))
    with pytest.raises(MetricError, match="integer matrix"):
        Rankings.from_arrays(["q"], np.array([[1.0]]))
    with pytest.raises(MetricError, match="scores of shape"):
        Rankings.from_arrays(["q"], np.array([[1, 2]]), scores=np.array([[1.0]]))
    with pytest.raises(MetricError, match="outside the vocabulary"):
        Rankings.from_arrays(["q"], [[2]], vocabulary=("a", "b"))


@pytest.mark.parametrize(
    ("line", "message"),
    [("q Q0 a 1 0.5", "run.txt:2: 5 fields"), ("q Q0 b 1 x tag", "run.txt:2: 'x'"), ("q Q0 a 1 2 t", "twice")],
)
def test_a_broken_run_file_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "run.txt"
    path.write_text(f"q Q0 a 1 0.9 tag\n{line}\n")
    refused(message, path)


def test_a_broken_judgement_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "qrels.txt"
    path.write_text("q 0 a 1\n\nq 0 b high\n")
    refused("qrels.txt:3: 'high'", qrels=path)
    refused("no such file", qrels=tmp_path / "none.txt")
