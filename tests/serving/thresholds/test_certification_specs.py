"""A certification's spec: thresholds by steps, faults all at once, sides of the traffic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from desk import certification, desk, near
from hypothesis import given
from hypothesis import strategies as st
from toys import dense, keywords

from evalkit import InputError, load_dataset, spec
from evalkit.datasets.traffic import Ingestion
from evalkit.serving.layers import SemanticCache
from evalkit.serving.load.traffics import Recorded
from evalkit.serving.semantic import Threshold, Verified
from evalkit.serving.thresholds.certification import Certification, Steps
from evalkit.serving.thresholds.halves import ByHash, BySplit, ByTime
from evalkit.serving.thresholds.run import check_certification
from evalkit.serving.thresholds.splits import by_hash, by_split, by_time


def test_steps_reach_the_highest_threshold_without_rounding():
    assert Steps((0.7, 1.0), 0.1).values == (0.7, 0.8, 0.9, 1.0)
    assert len(Steps().values) == 31
    assert Steps((0.0, 1.0), 0.4).values == (0.0, 0.4, 0.8)


@given(st.floats(-1, 0.99), st.floats(0.001, 0.5))
def test_steps_stay_between_their_ends(low, step):
    values = Steps((low, 1.0), step).values
    assert values[0] == pytest.approx(low, abs=1e-11)
    assert max(values) <= 1.0
    assert 1.0 - max(values) < step + 1e-9
    assert np.allclose(np.diff(values), step)


@pytest.mark.parametrize(
    "made", [((0.9, 0.9), 0.1), ((0.9,), 0.1), ((0.7, 1.1), 0.1), ((0.7, 1.0), 0.0), ((0, 1), 1e-9)]
)
def test_steps_that_lead_nowhere_are_refused(made):
    with pytest.raises(InputError, match="Steps: "):
        Steps(*made)


YAML = """
name: desk
dataset: data
thresholds: {between: [0.8, 1.0], step: 0.05}
rules: [{Verified: {error: 0.05}}, {Threshold: {at: 0.1, measure: squared L2}}]
ttls: [3600, null]
guards: [corpus, none]
embedders: {small: {Static: {dimensions: 64}}, whole: ONNX}
cache: {until: nothing}
calls: 0.55
traffic: {Recorded: {between: [0, 3600]}}
events: true
budget: 0.02
of: hits
level: 0.9
clusters: intent
split: {ByHash: {dev: 0.4}}
"""


def test_a_spec_reads_and_writes_back(tmp_path):
    (tmp_path / "desk.yaml").write_text(YAML)
    found = spec.load_certification(tmp_path / "desk.yaml")
    assert found.every_rule == (
        0.8, 0.85, 0.9, 0.95, 1.0, Verified(error=0.05), Threshold(0.1, "squared L2")
    )  # fmt: skip
    assert found.ttls == (3600.0, None)
    assert (found.budget, found.of, found.level, found.clusters) == (0.02, "hits", 0.9, "intent")
    assert [(label, cache.until) for label, cache in found.caches.items()] == [
        ("small", "nothing"), ("whole", "nothing")
    ]  # fmt: skip
    assert found.caches["small"].embedder != found.caches["whole"].embedder
    (tmp_path / "again.yaml").write_text(spec.as_yaml(found.plain()))
    assert spec.load_certification(tmp_path / "again.yaml") == found


@pytest.mark.parametrize("split", [BySplit(), BySplit("a", "b"), ByTime(), ByTime(0.3), ByHash(), ByHash(0.3, 2)])
def test_every_way_to_split_is_written_so_that_it_reads_back(split, tmp_path):
    made = Certification("desk", "data", calls=1.0, split=split)
    (tmp_path / "desk.yaml").write_text(spec.as_yaml(made.plain()))
    assert spec.load_certification(tmp_path / "desk.yaml") == made


WRONG = """
name: a desk
dataset: data
thresholds: [0.9, 1.2]
rules: [{Verfied: {error: 0.05}}]
ttls: [-1]
guards: [corpse]
cache: {index: hnsw}
cost: roadmapp
calls: 0.5
traffic: {Recorded: {speed: 0}}
budget: 1.5
of: answer
level: 0.4
split: {ByTime: {dev: 1}}
budgets: 3
"""


def test_all_faults_of_a_spec_come_at_once_with_their_lines(tmp_path):
    (tmp_path / "desk.yaml").write_text(WRONG)
    with pytest.raises(InputError) as caught:
        spec.load_certification(tmp_path / "desk.yaml")
    lines = str(caught.value).splitlines()
    for line, what in (
        (2, "name: 'a desk' must be letters"),
        (4, "thresholds: 1.2 is no cosine"),
        (5, "'Verfied'"),
        (6, "ttls: ttl is -1.0; it is seconds from 0"),
        (7, "'corpse' is not one of"),
        (8, "cache: index is 'hnsw', which may miss entries"),
        (9, "cost: no latency profile 'roadmapp'; did you mean 'roadmap'"),
        (9, "cost: is for a replay of the calls"),
        (11, "speed is 0"),
        (12, "budget: is 1.5; it is a share of wrong answers"),
        (13, "of: 'answer' is not one of"),
        (14, "level: is 0.4; it is above 0.5"),
        (15, "ByTime: dev is 1; it is a share"),
        (16, "budgets: Certification has no field 'budgets'; did you mean 'budget'?"),
    ):
        assert any(f"desk.yaml:{line}:" in told and what in told for told in lines), (line, what, lines)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"calls": None}, "variant: is needed, as its calls are replayed"),
        ({"calls": -1.0}, "calls: is -1; it is seconds from 0"),
        ({"thresholds": ()}, "thresholds: are empty"),
        ({"cache": SemanticCache(at="retrieve")}, "cache: is at 'retrieve'"),
        ({"cache": SemanticCache(rule=Threshold(0.8))}, "cache: its rule is what is swept"),
        ({"cache": near(ttl=60.0), "ttls": (1.0,)}, "ttls: are swept, and the cache has a ttl of its own"),
        ({"cache": near(guard="none"), "guards": ("none",)}, "guards: are swept, and the cache has a guard"),
        ({"embedders": {"": near().embedder}}, "embedders: are swept, and the cache has an embedder"),
        ({"guards": ("corpse",), "cache": SemanticCache()}, "guards: guard is 'corpse'; it is one of"),
        ({"of": "answer"}, "of: is 'answer'; it is one of 'answers', 'hits'"),
        ({"dev_level": 1.0}, "dev_level: is 1; it is above 0.5 and below 1"),
        ({"cores": 0, "seed": -1}, "cores: is 0; it must be at least 1\nseed: is -1; it must be at least 0"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(changes, what):
    with pytest.raises(InputError) as caught:
        certification(**changes)
    assert what in str(caught.value)


def test_an_end_of_the_budget_means_what_it_says():
    assert certification(calls=0.0, thresholds=(0.0,), ttls=(0.0,), cache=SemanticCache()).calls == 0
    with pytest.raises(InputError, match="budget: is 0"):
        certification(budget=0.0)


def test_each_way_to_split_is_the_one_it_is_named_after():
    data = desk()
    arrivals = Recorded().of(data)
    for half, split in (
        (BySplit(), by_split(arrivals, data)),
        (BySplit("test", "dev"), by_split(arrivals, data, dev="test", test="dev")),
        (ByTime(0.25), by_time(arrivals, dev=0.25)),
        (ByHash(0.4, 7), by_hash(arrivals, dev=0.4, seed=7)),
    ):
        assert np.array_equal(half.of(arrivals, data), split)
    with pytest.raises(InputError, match="dev and test are both"):
        BySplit("dev", "dev")


def test_what_the_data_cannot_give_is_said_field_by_field():
    data = desk()
    with pytest.raises(InputError, match=r"^traffic: Recorded: no request of small comes between"):
        check_certification(certification(traffic=Recorded((1e8, 2e8))), data)
    with pytest.raises(InputError, match=r"^split: by_split: no request of split 'devel'; did you mean 'dev'"):
        check_certification(certification(split=BySplit("devel")), data)
    with pytest.raises(InputError, match=r"^variant: says which documents an answer rests on"):
        check_certification(certification(cache=near(guard="context")), data)
    with pytest.raises(InputError, match=r"^cache: SemanticCache: the variant's retrieval embeds no question"):
        check_certification(certification(cache=SemanticCache(), variant=keywords()), data)
    changing = replace(data, events=(Ingestion(100.0, (data.documents.id[0],)),))
    with pytest.raises(InputError, match="documents that come in end answers"):
        check_certification(certification(events=True), changing)
    for fine in ({"cache": near(until="nothing")}, {"cache": near(guard="corpus")}, {"variant": dense()}):
        check_certification(certification(events=True, **fine), changing)


def test_the_projects_certification_loads_and_fits_its_data():
    root = Path(__file__).parents[3]
    found = spec.load_certification(root / "experiments" / "certify.yaml")
    assert found.name == "certify"
    assert found.description
    asked = check_certification(found, load_dataset(root / found.dataset))
    assert min(asked.split.dev.sum(), asked.split.test.sum()) > 500
