"""Judged metrics by a judge whose verdicts are known: ragas' arithmetic, samples, and what is not asked at all."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_judge import RuleJudge, asked_for, follows, sentences
from toys import HashedWords

from evalkit.clock import WallClock
from evalkit.metrics import (
    AnswerRelevancy,
    Case,
    ContextPrecision,
    ContextRecall,
    Faithfulness,
    MetricError,
    parse,
)
from evalkit.metrics.asking import JudgementFailed
from evalkit.values import Prompt

WORDS = ["ferry", "leaves", "noon", "dogs", "welcome", "fares", "cheese"]
sentence = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(lambda w: " ".join(w) + ".")
passages = st.lists(sentence, min_size=1, max_size=4)
EVERY = [Faithfulness(), AnswerRelevancy(), ContextPrecision(), ContextRecall()]


def judged(metric, case, judge=None, repeat=0):
    """A metric's value, and the samples that the judge was asked."""
    judge, clock, asked = judge or RuleJudge(), WallClock(), []

    async def ask(text, sample):
        asked.append((asked_for(text)[0], sample))
        return (await judge(Prompt(text, (), (), ()), sample, clock)).text

    return asyncio.run(metric.judge(case, ask, repeat, HashedWords().encode)), asked


@settings(max_examples=30)
@given(st.lists(sentence, min_size=1, max_size=4), passages)
def test_faithfulness_is_the_share_of_statements_that_follow(claims, found):
    value, asked = judged(Faithfulness(), Case("When?", " ".join(claims), tuple(found)))
    assert value == pytest.approx(np.mean([follows(claim, "\n".join(found)) for claim in claims]))
    assert [kind for kind, _ in asked] == ["cut", "decide"]


@settings(max_examples=30)
@given(sentence, passages)
def test_context_precision_is_the_average_precision_of_useful_passages(reference, found):
    value, asked = judged(ContextPrecision(), Case("When?", "", tuple(found), reference))
    useful = np.array([follows(reference, passage) for passage in found], dtype=float)
    at = np.cumsum(useful) / np.arange(1, len(found) + 1)
    assert value == pytest.approx((at * useful).sum() / useful.sum() if useful.any() else 0.0, abs=1e-6)
    assert len(asked) == len(found)


@settings(max_examples=30)
@given(st.lists(sentence, min_size=1, max_size=4), passages)
def test_context_recall_is_the_share_of_the_references_sentences_that_were_found(claims, found):
    value, _ = judged(ContextRecall(), Case("When?", "", tuple(found), " ".join(claims)))
    assert value == pytest.approx(np.mean([follows(claim, "\n".join(found)) for claim in claims]))


def test_answer_relevancy_is_the_cosine_of_the_questions_made_up():
    question, answer = "What about this: the ferry leaves at noon", "the ferry leaves at noon"
    value, asked = judged(AnswerRelevancy(questions=2), Case(question, answer), repeat=3)
    assert value == pytest.approx(1.0, abs=1e-6)
    assert asked == [("ask", 6), ("ask", 7)]
    vectors = HashedWords().encode(["How old are you?", f"What about this: {answer}"])
    other, _ = judged(AnswerRelevancy(), Case("How old are you?", answer))
    assert other == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)


def test_an_answer_that_commits_to_nothing_is_not_relevant():
    text = "The documents do not say."
    assert judged(AnswerRelevancy(), Case(f"What about this: {text}", text))[0] == 0


@pytest.mark.parametrize(
    ("metric", "case", "value"),
    [
        (Faithfulness(), Case("When?", "", ("the ferry",)), 1),
        (Faithfulness(), Case("When?", "noon", ()), 0),
        (Faithfulness(), Case("When?", "noon", (" ",)), 0),
        (AnswerRelevancy(), Case("When?", " "), 0),
        (ContextPrecision(), Case("When?", "", (), "noon"), 0),
        (ContextRecall(), Case("When?", "", (), "noon"), 0),
    ],
)
def test_what_needs_no_judge_is_not_asked(metric, case, value):
    assert judged(metric, case) == (value, [])


@pytest.mark.parametrize("metric", EVERY, ids=str)
def test_equal_views_of_a_case_are_equal(metric):
    full = Case("When?", "At noon.", ("The ferry.",), "noon")
    seen = metric.seen(full)
    for name in {"answer", "passages", "reference"} - metric.reads:
        assert getattr(seen, name) == getattr(Case(""), name)
    assert all(getattr(seen, name) == getattr(full, name) for name in metric.reads)
    assert judged(metric, seen) == judged(metric, full)


def test_a_case_without_what_is_compared_is_not_judged():
    assert not ContextRecall().applies(Case("When?", "noon", ("a",)))
    assert Faithfulness().applies(Case("When?", "noon", ("a",)))
    assert not Faithfulness().applies(Case(" ", "noon", ("a",)))


@pytest.mark.parametrize(("metric", "fault"), [(m, f) for m in EVERY for f in ("garbage", "refusal")], ids=str)
def test_an_unusable_answer_fails_the_judgement_and_is_no_number(metric, fault):
    case = Case("When?", "The ferry leaves.", ("The ferry leaves.",), "The ferry leaves.")
    with pytest.raises(JudgementFailed):
        judged(metric, case, RuleJudge(fault=fault, breaks="ferry"))


def test_no_statement_found_is_a_failed_judgement():
    async def ask(text, sample):
        return '{"statements": []}'

    with pytest.raises(JudgementFailed, match="no statement to judge"):
        asyncio.run(Faithfulness().judge(Case("When?", "Noon.", ("a",)), ask))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Faithfulness(repeats=0)", "repeats must be a whole number of at least 1, not 0"),
        ("ContextRecall(repeats=True)", "repeats must be a whole number"),
        ("AnswerRelevancy(questions=None)", "questions must be a whole number of at least 1"),
        ("Faithfullness", "did you mean 'Faithfulness'"),
    ],
)
def test_wrong_settings_are_one_line(text, what):
    with pytest.raises(MetricError, match=what):
        parse(text)


def test_the_rules_of_the_judge_are_what_these_tests_say():
    assert sentences("One. Two!  Three") == ["One.", "Two!", "Three"]
    assert follows("The FERRY.", "a ferry, the big one")
    assert not follows("the ferry sinks", "the ferry")
