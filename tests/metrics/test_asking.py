"""A judge's text is read for the first JSON that is what was asked for; what ragas would miscount is refused."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics.asking import JudgementFailed, embedding_class, judge_class, read_verdict
from evalkit.metrics.ragas import quiet_ragas

quiet_ragas()

from pydantic import BaseModel  # noqa: E402 - ragas brings it


class Verdict(BaseModel):
    reason: str
    verdict: int


class Statements(BaseModel):
    statements: list[str]


GOOD = '{"reason": "a brace } and a {", "verdict": 1}'


@given(st.sampled_from(["", "Here you are: ", "```json\n", '{"type": "object"} ', "{ no } "]), st.text(max_size=9))
def test_the_first_object_of_the_right_kind_is_read_whatever_stands_around_it(before, after):
    found = read_verdict(f"{before}{GOOD}{after}", Verdict)
    assert (found.verdict, found.reason) == (1, "a brace } and a {")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_few_words(text):
    try:
        found = read_verdict(text, Verdict)
    except JudgementFailed as failure:
        said = str(failure)
    else:
        said = found.reason
        assert found.verdict in (0, 1)
    assert len(said) < 60


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty answer"),
        ("yes", "not the JSON"),
        (GOOD[:-1], "not the JSON"),
        (GOOD.replace("1}", "2}"), "verdict is neither 0 nor 1"),
        (GOOD.replace("1}", "-1}"), "verdict is neither 0 nor 1"),
        (GOOD.replace("1}", '"perhaps"}'), "not the JSON"),
        ("{" * 5000, "not the JSON"),
        ('{"a":' * 5000, "not the JSON"),
    ],
)
def test_what_holds_no_verdict_is_refused(text, what):
    with pytest.raises(JudgementFailed, match=what):
        read_verdict(text, Verdict)


def asked(per_prompt, repeat, prompts, answers, model=Verdict):
    """Ask a judge several prompts; returns the samples that were asked for."""
    samples = []

    async def ask(prompt, sample):
        samples.append((prompt, sample))
        return answers[len(samples) - 1]

    async def work():
        judge = judge_class()(ask, repeat, per_prompt)
        return [await judge.agenerate(prompt, model) for prompt in prompts]

    return asyncio.run(work()), samples


def test_samples_of_different_repeats_never_meet():
    for per_prompt in (1, 3):
        taken = [asked(per_prompt, r, ["p"] * per_prompt, [GOOD] * per_prompt)[1] for r in range(4)]
        every = [sample for one in taken for sample in one]
        assert len(set(every)) == len(every) == 4 * per_prompt


def test_an_equal_passage_is_the_same_sample():
    assert asked(1, 5, ["p", "q", "p"], [GOOD] * 3)[1] == [("p", 5), ("q", 5), ("p", 5)]


def test_a_judge_that_decides_on_fewer_statements_than_it_found_has_failed():
    texts = [json.dumps({"statements": list("ab")}), json.dumps({"statements": ["a"]})]
    with pytest.raises(JudgementFailed, match="another number of verdicts than statements"):
        asked(1, 0, ["cut", "decide"], texts, Statements)


def test_embeddings_are_those_of_the_function():
    embedding = embedding_class()(lambda texts: np.array([[len(text), 1] for text in texts], dtype=np.float32))
    assert asyncio.run(embedding.aembed_texts(["a", "abc"])) == [[1, 1], [3, 1]]
    assert embedding.embed_text("ab") == asyncio.run(embedding.aembed_text("ab")) == [2, 1]
    with pytest.raises(JudgementFailed, match="no embedding model"):
        embedding_class()(None).embed_text("a")
