"""ragas' metrics of contexts are ragas' own numbers, and count what was not found."""

from __future__ import annotations

import asyncio
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from evalkit.metrics import MetricError, parse
from evalkit.metrics.ragas import quiet_ragas

FOUND = [["d1", "d1", "d3"], ["d2"], [], ["d9", "d4"]]
RIGHT = [["d1", "d2"], ["d2"], ["d1"], []]
TEXTS = [
    (["red apples grow", "blue plums grow"], ["red apples grow!", "pears"]),
    (["xx", "yy"], ["the ferry leaves"]),
    (["the ferry leaves at noon", "no", "the ferry leaves at nine"], ["the ferry leaves at noon"]),
]


def directly(name, **sample):
    quiet_ragas()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ragas.metrics
        from ragas import SingleTurnSample

        scorer = getattr(ragas.metrics, name)()
    return asyncio.run(scorer.single_turn_ascore(SingleTurnSample(**sample)))


@pytest.mark.parametrize("kind", ["Precision", "Recall"])
def test_metrics_of_ids_are_ragas_own(kind):
    values = parse(f"RagasIDContext{kind}").score([""] * 4, [[]] * 4, context_ids=FOUND, reference_ids=RIGHT)
    for value, found, right in zip(values[:2], FOUND, RIGHT, strict=False):
        own = directly(f"IDBasedContext{kind}", retrieved_context_ids=found, reference_context_ids=right)
        assert value == pytest.approx(own)
    assert values[2] == 0
    assert np.isnan(values[3])


def test_a_document_found_twice_counts_once():
    metric = parse("RagasIDContextPrecision")
    assert metric.score([""], [[]], context_ids=[["d1", "d1", "d3"]], reference_ids=[["d1"]]) == [0.5]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("RagasContextPrecision", "NonLLMContextPrecisionWithReference"),
        ("RagasContextRecall", "NonLLMContextRecall"),
    ],
)
def test_metrics_of_texts_are_ragas_own(text, name):
    if find_spec("rapidfuzz") is None:
        with pytest.raises(MetricError, match="pip install rapidfuzz"):
            parse(text).score([""], [[]], contexts=[["a"]], reference_contexts=[["a"]])
        pytest.skip("rapidfuzz is not installed")
    found, right = [f for f, _ in TEXTS], [r for _, r in TEXTS]
    values = parse(text).score([""] * 3, [[]] * 3, contexts=found, reference_contexts=right)
    for value, got, wanted in zip(values, found, right, strict=True):
        own = directly(name, retrieved_contexts=got, reference_contexts=wanted)
        assert value == pytest.approx(own)
    assert len(set(values.tolist())) > 1


def test_missing_contexts_are_one_line():
    with pytest.raises(
        MetricError, match=r"RagasIDContextRecall: 1 reference_ids for 2 queries; pass reference_ids="
    ):
        parse("RagasIDContextRecall").score(["", ""], [[], []], context_ids=[[], []], reference_ids=[[]])
