"""How far a judge agrees with references: kappa of scikit-learn, failures counted and bounded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_judge import RuleJudge, Says
from sklearn.metrics import cohen_kappa_score
from toys import dense

from evalkit import Results, Sweep, run
from evalkit.errors import InputError
from evalkit.evaluate.judging.agreement import judge_agreement

LIE = "Moons are cheese."


def results(values, systems=("base",)):
    """Results with these values: {metric: {system: {query: value}}}."""
    rows = [
        (system, query, metric, float(value))
        for metric, own in values.items()
        for system, found in own.items()
        for query, value in found.items()
    ]
    frame = pd.DataFrame(rows, columns=["variant", "query", "metric", "value"])
    names = dict.fromkeys(frame["metric"])
    summary = pd.DataFrame({"metric": list(names)})
    return Results(summary, frame, dict.fromkeys(systems, ""), systems[0], {"spec": {"name": "x"}})


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=25)


@settings(max_examples=50)
@given(scores, st.sampled_from([0.5, [0.25, 0.5], [0.2, 0.4, 0.9]]), st.sampled_from(["none", "linear", "quadratic"]))
def test_kappa_is_scikit_learns_on_thresholded_values(pairs, cuts, weights):
    judge = {f"q{i}": x for i, (x, _) in enumerate(pairs)}
    people = {f"q{i}": y for i, (_, y) in enumerate(pairs)}
    found = judge_agreement(
        results({"Faithfulness": {"base": judge}}), "Faithfulness", people, threshold=cuts, weights=weights
    )
    edges = [cuts] if isinstance(cuts, float) else cuts
    first, second = (np.digitize([pair[i] for pair in pairs], edges) for i in (0, 1))
    assert found.agreement.table.sum() == len(pairs)
    if len({*first, *second}) > 1:
        theirs = cohen_kappa_score(
            first, second, labels=range(len(edges) + 1), weights=None if weights == "none" else weights
        )
        assert found.kappa.value == pytest.approx(theirs, abs=1e-9)
    else:
        assert np.isnan(found.kappa.value)


def test_failed_judgements_are_counted_and_count_as_disagreement_at_worst():
    judge = {"q1": 1, "q2": 0, "q3": 1, "q4": 0}
    failed = {"q1": 0, "q2": 0, "q3": 0, "q4": 0, "q5": 1, "q6": 1}
    people = {"q1": 1, "q2": 0, "q3": 1, "q4": 0, "q5": 1, "q6": 0, "q7": 1}
    values = {"Faithfulness": {"base": judge}, "Faithfulness[failed]": {"base": failed}}
    found = judge_agreement(results(values), "Faithfulness", people)
    assert (found.kappa.value, found.kappa.n, found.failed, found.unjudged, found.unlabelled) == (1, 4, 2, 1, 0)
    assert found.worst.n == 6
    assert found.worst.value == pytest.approx(cohen_kappa_score([1, 0, 1, 0, 0, 1], [1, 0, 1, 0, 1, 0]))
    text = repr(found)
    assert "failed 2" in text
    assert "if the failed ones all disagreed" in text


def test_answers_of_one_query_by_several_systems_belong_together():
    rng = np.random.default_rng(1)
    people = {f"q{i}": int(rng.random() < 0.5) for i in range(40)}
    judge = {q: x if rng.random() < 0.8 else 1 - x for q, x in people.items()}
    alone = judge_agreement(results({"M": {"a": judge}}, ("a",)), "M", people)
    twice = judge_agreement(results({"M": {"a": judge, "b": judge}}, ("a", "b")), "M", {"a": people, "b": people})
    assert twice.kappa.n == 80
    assert twice.kappa.value == alone.kappa.value
    assert twice.kappa.high - twice.kappa.low == pytest.approx(alone.kappa.high - alone.kappa.low, rel=0.15)
    one = judge_agreement(results({"M": {"a": judge, "b": judge}}, ("a", "b")), "M", people, system="b")
    assert one.kappa == alone.kappa


def test_a_judge_of_known_verdicts_is_held_against_reference_answers(tiny, store):
    sweep = Sweep(dense(generate=Says()), grid={"generate": [Says(LIE)]})
    metrics = ["Faithfulness", "Supported", "TokenF1"]
    found = run(sweep, tiny, metrics, judge=RuleJudge(), store=store)
    same = judge_agreement(found, "faithfulness", "Supported", threshold=1.0)
    assert same.kappa.value == 1
    assert same.kappa.low < 0.9
    assert same.table.loc[0, 0] == same.table.loc[1, 1] == len(tiny.queries)
    noisy = run(sweep, tiny, metrics, judge=RuleJudge(noise=0.3), store=store)
    less = judge_agreement(noisy, "Faithfulness", "Supported", threshold=1.0)
    assert less.kappa.value < same.kappa.value
    loose = judge_agreement(found, "Faithfulness", "TokenF1", reference_threshold=0.1)
    assert loose.reference == "TokenF1"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("Faithfullness", {"q1": 1}), "was not measured"),
        (("M", {"q9": 1}), "no answer has both a value of M and a label of given labels"),
        (("M", {"q1": 1}), "labels belong to one system's answers"),
        (("M", {"c": {"q1": 1}}), "labels of 'c', which is no system"),
    ],
)
def test_wrong_references_are_one_line(arguments, what):
    several = results({"M": {"a": {"q1": 1}, "b": {"q1": 0}}}, ("a", "b"))
    alone = results({"M": {"a": {"q1": 1}}}, ("a",))
    with pytest.raises(InputError, match=what):
        judge_agreement(alone if "q9" in arguments[1] else several, *arguments)


@pytest.mark.parametrize("cuts", [[], [0.5, 0.2], float("nan"), [0.5, 0.5]])
def test_thresholds_rise(cuts):
    with pytest.raises(InputError, match="give a number, or several that rise"):
        judge_agreement(results({"M": {"base": {"q1": 1}}}), "M", {"q1": 1}, threshold=cuts)


def test_as_many_thresholds_of_both_are_needed():
    with pytest.raises(InputError, match="1 and 2 thresholds"):
        judge_agreement(results({"M": {"base": {"q1": 1}}}), "M", {"q1": 1}, reference_threshold=[0.1, 0.2])
