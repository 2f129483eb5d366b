"""ragas' metrics of answers are ragas' own numbers, quietly, without a network and inside a running loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics import MetricError, parse
from evalkit.metrics.ragas import MissingPackage, quiet_ragas

ROWS = [
    ("Paris", ["Paris"]),
    ("Paris is the capital.", ["paris", "Paris is the capital."]),
    ("The city of Paris, I think. It is large.", ["London. It rains."]),
    ("", ["Rome"]),
    ("café Ålesund 東京", ["café Ålesund"]),
    ("PARIS", []),
    ("no", ["no", "nope"]),
]
ANSWERS, REFERENCES = [answer for answer, _ in ROWS], [rights for _, rights in ROWS]
NAMES = {
    "RagasExactMatch": ("ExactMatch", {}, ""),
    "RagasStringPresence": ("StringPresence", {}, ""),
    "RagasStringSimilarity": ("NonLLMStringSimilarity", {}, "rapidfuzz"),
    "RagasStringSimilarity(distance='jaro')": ("NonLLMStringSimilarity", {"distance_measure": "jaro"}, "rapidfuzz"),
    "RagasRouge": ("RougeScore", {}, "rouge_score"),
    "RagasRouge(rouge='rouge1', mode='recall')": (
        "RougeScore",
        {"rouge_type": "rouge1", "mode": "recall"},
        "rouge_score",
    ),
    "RagasChrF": ("CHRFScore", {}, "sacrebleu"),
    "RagasBleu": ("BleuScore", {}, "sacrebleu"),
}


def directly(name, settings, answer, right):
    """What ragas says when it is called without evalkit."""
    quiet_ragas()
    from ragas.metrics import collections

    if "distance_measure" in settings:
        settings = {"distance_measure": collections.DistanceMeasure(settings["distance_measure"])}
    return asyncio.run(getattr(collections, name)(**settings).ascore(reference=right, response=answer)).value


@pytest.mark.parametrize("text", NAMES)
def test_a_value_is_ragas_own_for_the_best_reference(text):
    name, settings, package = NAMES[text]
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    found = parse(text).score(ANSWERS, REFERENCES)
    for value, answer, rights in zip(found, ANSWERS, REFERENCES, strict=True):
        own = max(directly(name, settings, answer, right) for right in rights) if rights else float(not answer)
        assert value == pytest.approx(own, abs=1e-12)


@pytest.mark.parametrize("text", [text for text, (*_, package) in NAMES.items() if package])
def test_a_missing_package_is_named_with_how_to_get_it(text):
    package = NAMES[text][2]
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(MissingPackage, match=rf"needs the package .*pip install {package.replace('_', '-')}$"):
        parse(text).score(["a"], [["a"]])


@settings(max_examples=25)
@given(st.lists(st.tuples(st.text(max_size=9), st.lists(st.text(max_size=5), max_size=3)), max_size=5))
def test_presence_and_equality_are_what_they_say(rows):
    answers, references = [answer for answer, _ in rows], [rights for _, rights in rows]
    present, equal = (parse(name).score(answers, references) for name in ("RagasStringPresence", "RagasExactMatch"))
    for i, (answer, rights) in enumerate(rows):
        assert present[i] == (any(right in answer for right in rights) if rights else not answer)
        assert equal[i] == (answer in rights if rights else not answer)


def test_quotations_are_looked_for_in_the_passages():
    metric = parse("RagasQuotedSpans")
    answers = ['It says "the ferry leaves at noon" here.', 'It says "the ferry never leaves again".', "No quotation."]
    passages = [["Today the  ferry leaves at NOON."], ["The ferry leaves."], []]
    assert metric.score(answers, [[], [], []], contexts=passages).tolist() == [1, 0, 1]
    longer = parse("RagasQuotedSpans(words=6)")
    assert longer.score(answers, [[], [], []], contexts=passages).tolist() == [1, 1, 1]
    with pytest.raises(MetricError, match=r"none contexts for 1 queries; pass contexts="):
        metric.score(["a"], [[]])


def test_metrics_work_where_a_loop_is_running_already():
    async def notebook():
        return parse("RagasExactMatch").score(["a"], [["a"]])

    assert asyncio.run(notebook()).tolist() == [1]


def test_nothing_to_score_gives_nothing():
    assert parse("RagasExactMatch").score([], []).shape == (0,)
    assert parse("RagasExactMatch").score([], []).dtype == np.float64


def test_ragas_says_nothing_reports_nothing_and_leaves_nothing_behind(tmp_path):
    code = """
import sys
asked, network = [], ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda name, given: asked.append(given[1]) if name in network else None)
from evalkit.metrics import parse
assert parse("RagasExactMatch").score(["a"], [["a"]]) == [1]
ids = {"context_ids": [["d1"]], "reference_ids": [["d1", "d2"]]}
assert parse("RagasIDContextRecall").score([""], [[]], **ids) == [0.5]
from ragas._analytics import _analytics_batcher, do_not_track
assert do_not_track() and _analytics_batcher.buffer
_analytics_batcher.shutdown()
assert not asked, asked
"""
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not [path for path in tmp_path.rglob("*") if "ragas" in path.name or path.name == "uuid.json"]
