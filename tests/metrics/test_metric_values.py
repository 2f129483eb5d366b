"""Every metric, found by itself, is a value that prints, parses, hashes and defines itself."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, fields
from typing import ClassVar

import pytest

from evalkit import metrics
from evalkit.metrics import ALL, Definition, Metric, MetricError, describe, parse
from evalkit.metrics.latency import LatencyMetric

SAMPLES = {"cutoff": 5, "stage": "embed", "model": "claude", "kind": "input", "since": "call", "q": 0.25}
SAMPLES |= {"gain": "exp", "min_relevance": 2, "persistence": 0.5, "max_grade": 3, "ngram": 2, "on": "all"}
SAMPLES |= {"total": 900.0, "first_token": 100.0, "inter_token": 9.5}
SAMPLES |= {"repeats": 3, "questions": 2, "embedder": "intfloat/e5-small", "distance": "jaro", "rouge": "rouge1"}
SAMPLES |= {"mode": "recall", "words": 5, "threshold": 0.75}


def variations(cls: type[Metric]) -> list[Metric]:
    names = [field.name for field in fields(cls)]
    return [cls(), *(cls(**{name: SAMPLES[name]}) for name in names), cls(**{name: SAMPLES[name] for name in names})]


EVERY = [metric for cls in ALL for metric in variations(cls)]


@pytest.mark.parametrize("metric", EVERY, ids=str)
def test_a_metric_prints_a_name_that_parses_back_to_it(metric):
    assert parse(str(metric)) == metric
    assert parse(str(metric).lower()) == metric
    assert parse(repr(metric)) == metric
    assert hash(parse(str(metric))) == hash(metric)


def test_names_and_slugs_of_different_metrics_differ():
    distinct = set(EVERY)
    assert len({str(metric) for metric in distinct}) == len(distinct)
    assert len({metric.slug for metric in distinct}) == len(distinct)


@pytest.mark.parametrize("metric", EVERY, ids=str)
def test_a_slug_is_a_safe_name_for_tracking(metric):
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", metric.slug)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_a_metric_carries_direction_unit_range_and_definition(cls):
    metric = cls()
    low, high = metric.range
    assert low < high
    assert metric.needs in {"ranking", "spans", "passages", "answers", "judge", "latency", "caching", "cost"}
    assert metric.unit in {"", "ms", "s", "1/s", "$", "tokens"}
    assert isinstance(metric.higher_is_better, bool)
    assert metric.definition.formula
    assert metric.definition.source
    assert metric.definition.denominator
    assert metric.definition.formula in describe(metric)


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls.needs == "ranking"], ids=lambda cls: cls.__name__)
def test_a_ranking_metric_says_how_awkward_cases_count(cls):
    definition = cls.definition
    assert all([definition.ties, definition.unjudged, definition.empty, definition.missing])


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_a_metric_is_exported_by_name(cls):
    assert cls.__name__ in metrics.__all__
    assert getattr(metrics, cls.__name__) is cls


@pytest.mark.parametrize(
    ("text", "canonical", "slug"),
    [
        ("ndcg@10", "nDCG@10", "ndcg_at_10"),
        ("mrr@5", "MRR@5", "mrr_at_5"),
        ("tokenf1", "TokenF1", "token_f1"),
        ("spaniou@5", "SpanIoU@5", "span_iou_at_5"),
        ('NDCG(gain="exp")@10', 'nDCG(gain="exp")@10', "ndcg_exp_at_10"),
        ("p95(stage='embed')", 'P95(stage="embed")', "p95_embed"),
        ("nDCG(cutoff=3)", "nDCG@3", "ndcg_at_3"),
        ("MAP( min_relevance = 2 ) @ 5", "MAP(min_relevance=2)@5", "map_min_relevance_2_at_5"),
    ],
)
def test_names_are_read_in_any_case_and_printed_in_one_form(text, canonical, slug):
    assert str(parse(text)) == canonical
    assert parse(text).slug == slug


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ndgc@10", "did you mean 'nDCG'"),
        ("recal@5", "did you mean 'Recall'"),
        ("nDCG(gian='exp')", "did you mean 'gain'"),
        ("nDCG@-1", "at least 1, not -1"),
        ("nDCG@0", "at least 1, not 0"),
        ("nDCG@2.5", "at least 1, not 2.5"),
        ("nDCG@True", "at least 1, not True"),
        ("nDCG(gain='log')", "linear, exp"),
        ("P95@10", "P95 has no 'cutoff'"),
        ("MAP(min_relevance=0)", "must lie between 0"),
        ("RBP(persistence=1)", "must lie between 0 and 1"),
        ("ERR(max_grade='high')", "must lie between"),
        ("nDCG(10)", "name=value"),
        ("nDCG(cutoff=3)@5", "given twice"),
        ("nDCG(gain=open('x'))", "not a plain value"),
        ("nDCG @", "cannot be read"),
        ("", "cannot be read"),
        ("3 + 4", "cannot be read"),
    ],
)
def test_a_wrong_name_is_one_line_that_says_what_to_do(text, message):
    with pytest.raises(MetricError, match=re.escape(message)) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_new_metric_is_one_class():
    @dataclass(frozen=True)
    class P42(LatencyMetric):
        definition: ClassVar[Definition] = Definition("42nd percentile", "a test", "samples")

        def _estimate(self, samples):
            raise NotImplementedError

    assert parse('p42(stage="rerank")') == P42(stage="rerank")


def test_importing_metrics_loads_no_heavy_package():
    code = (
        "import sys, evalkit.metrics; "
        "print([m for m in ('pandas', 'scipy', 'torch', 'mlflow', 'matplotlib', 'ragas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
