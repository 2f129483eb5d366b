"""What metrics see beside an answer: its prompt's passages and documents, and the references for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from rule_judge import RuleJudge, Says
from toys import dense, small_dataset

from evalkit import run
from evalkit.columns import Ragged, Strings
from evalkit.evaluate.contexts import Contexts, applies_to
from evalkit.evaluate.score import applicable, targets
from evalkit.metrics import Case, parse
from evalkit.presets import baseline
from evalkit.values import Answer, Answers, Prompt, Prompts

PROMPTS = Prompts(
    question=Strings.of(["b?", "a?"]),
    titles=Ragged.of([["", ""], []]),
    passages=Ragged.of([["green pears", "red"], []]),
    sources=Ragged.of([["d2", "d1"], []]),
)


def test_a_list_of_texts_stands_for_each_query_by_its_row():
    contexts = Contexts(small_dataset())
    assert contexts.named("contexts", ["q1", "q2"], PROMPTS, [1, 0]) == [[], ["green pears", "red"]]
    assert contexts.named("context_ids", ["q2"], PROMPTS, [0]) == [["d2", "d1"]]


def test_references_are_the_evidence_and_else_the_relevant_documents(tiny):
    own = Contexts(small_dataset())
    assert own.named("reference_contexts", ["q1", "q3"], PROMPTS, []) == [
        ["red apples grow", "red cherries fall"],
        [],
    ]
    assert own.named("reference_ids", ["q1", "q3"], PROMPTS, []) == [["d1", "d3"], []]
    known = Contexts(tiny)
    assert known.named("reference_contexts", ["q1"], PROMPTS, []) == [["17 euros for a return"]]
    assert known.named("reference_ids", ["q1"], PROMPTS, []) == [["fares-2025", "fares-2024"]]


def test_a_case_is_what_one_system_did_with_one_query():
    answers = Answers(Strings.of(["pears", "none"]), Ragged.of([["d2"], []]))
    cases = Contexts(small_dataset()).cases(["q2", "q3"], PROMPTS, answers)
    assert cases == {
        "q2": Case("pears fall", "pears", ("green pears", "red"), "green"),
        "q3": Case("who judges plums", "none", (), ""),
    }
    assert Contexts(small_dataset()).cases(["q2", "q3"], PROMPTS, None)["q2"].answer == ""


@pytest.mark.parametrize(
    ("name", "queries"),
    [
        ("RagasIDContextRecall", ["q1", "q2", "q4"]),
        ("Faithfulness", ["q1", "q2", "q3", "q4"]),
        ("AnswerRelevancy", ["q1", "q2", "q3", "q4"]),
        ("ContextRecall", ["q1", "q2"]),
    ],
)
def test_a_metric_applies_where_its_references_are(name, queries):
    assert applies_to(small_dataset(), parse(name)) == applicable(small_dataset(), parse(name)) == queries


@pytest.mark.parametrize(
    ("name", "seams"),
    [
        ("ContextRecall", {"chunks", "prompt"}),
        ("RagasIDContextRecall", {"chunks", "prompt"}),
        ("Faithfulness", {"chunks", "prompt", "answer"}),
        ("Supported", {"chunks", "prompt", "answer", "PromptTokens"}),
        ("TokenF1", {"chunks", "answer", "PromptTokens"}),
    ],
)
def test_no_more_is_worked_on_than_the_metrics_look_at(name, seams):
    assert targets(baseline(), [parse(name)], timed=False).keys() - {"truncated"} == seams


def test_passages_and_documents_are_handed_to_the_metrics_that_ask(tiny, store):
    metrics = ["Supported", "RagasQuotedSpans", "RagasIDContextRecall", "RagasIDContextPrecision"]
    found = run(dense(generate=Says("Moons are cheese.")), tiny, metrics, store=store)
    rows = found.summary.set_index("metric")
    documents = dict(zip(tiny.documents.id, tiny.documents.text, strict=True))
    retrieved = {
        sample.user_input: {d for d, text in documents.items() if any(p in text for p in sample.retrieved_contexts)}
        for sample in found.to_ragas("base", tiny, store).samples
    }
    relevant = {q: {d for d, grade in tiny.qrels[q].items() if grade > 0} for q in tiny.queries.id}
    questions = dict(zip(tiny.queries.id, tiny.queries.text, strict=True))
    recall = [len(relevant[q] & retrieved[questions[q]]) / len(relevant[q]) for q in tiny.queries.id]
    assert rows.loc["RagasIDContextRecall", "value"] == pytest.approx(np.mean(recall))
    assert 0 < rows.loc["Supported", "value"] < 1
    assert rows.loc["RagasQuotedSpans", "value"] == 1


def test_metrics_of_passages_make_no_answer(tiny, store):
    @dataclass(frozen=True)
    class Never:
        version: ClassVar[int] = 1
        stage: ClassVar[str] = "generate"

        async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
            raise AssertionError("no answer is needed")

    metrics = ["RagasIDContextRecall", "ContextRecall"]
    found = run(dense(generate=Never()), tiny, metrics, judge=RuleJudge(), store=store)
    assert set(found.summary["metric"]) >= {"RagasIDContextRecall", "ContextRecall"}


def test_a_query_that_a_metric_does_not_apply_to_is_left_out_of_its_mean(tiny, store):
    found = run(dense(generate=Says()), tiny, ["Refusal(on='all')", "Refusal"], store=store)
    rows = found.summary.set_index("metric")
    assert rows.loc['Refusal(on="all")', "n"] == len(tiny.queries)
    assert rows.loc["Refusal", "n"] == 0
