"""A replay's spec: traffic of every kind, faults all at once, results on disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toys import keywords

from evalkit import InputError, Service, spec
from evalkit.datasets import Traffic
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Cache, Replay
from evalkit.serving.load.load import HighestRate, Load
from evalkit.serving.load.replays import places, run_load
from evalkit.serving.load.traffics import Closed, Poisson, Recorded
from evalkit.serving.results.targets import Targets

KINDS = ("canonical", "conversation", "trap: negation", "canonical", "trap: other time", "conversation")


@pytest.fixture
def busy(tiny):
    """The tiny data set with traffic of three kinds, a request every 10 s, and a document that comes in at 25 s."""
    asked = [tiny.queries.text[i] for i in range(6)]
    rows = [
        {"text": text, "at": 10.0 * i, "kind": kind, "user": f"u{i}", "tenant": "t"}
        for i, (text, kind) in enumerate(zip(asked, KINDS, strict=True))
    ]
    last = tiny.documents.id[-1]
    return replace(tiny, traffic=Traffic.of(rows), events=(Ingestion(25.0, (last,)),))


def a_load(**changes) -> Load:
    services = {"plain": Service(keywords()), "cached": Service(keywords(), (Cache(),))}
    given = {"name": "busy", "dataset": "data", "services": services, "cost": {"search": 0.1}, **changes}
    return Load(**given)


def test_recorded_traffic_keeps_its_gaps_and_can_be_hastened(busy):
    found = Recorded(between=(10, 40), speed=2).of(busy)
    assert [a.at for a in found] == [0.0, 5.0, 10.0]
    assert [a.user for a in found] == ["u1", "u2", "u3"]
    assert [e.at for e in Recorded(between=(10, 40), speed=2).events(busy)] == [7.5]
    assert [e.at for e in Recorded(between=(30, 60)).events(busy)] == [0.0]  # it came before, so it is there
    assert Recorded(between=(0, 20)).events(busy) == ()


def test_a_mix_has_its_proportions_and_each_kind_its_order(busy):
    found = Poisson(requests=6000, mix={"canonical": 3, "conversation": 2, "trap": 1}, seed=4).of(busy)
    counts = Counter(a.kind.partition(":")[0] for a in found)
    for kind, share in (("canonical", 3 / 6), ("conversation", 2 / 6), ("trap", 1 / 6)):
        assert abs(counts[kind] / 6000 - share) < 4 * np.sqrt(share * (1 - share) / 6000)
    talks = [a.user for a in found if a.kind == "conversation"]
    assert talks[:4] == ["u1", "u5", "u1", "u5"]
    assert np.mean(np.diff([a.at for a in found])) == pytest.approx(1.0, abs=0.05)


def test_without_a_mix_requests_come_in_their_order_and_again(busy):
    found = Closed(users=2, requests=8).of(busy)
    assert [a.user for a in found.requests] == [f"u{i % 6}" for i in range(8)]
    assert found.users == 2


def test_queries_serve_where_there_is_no_traffic(tiny):
    with pytest.raises(InputError, match="no recorded traffic; give Poisson or Closed with source: queries"):
        Poisson(requests=3).of(tiny)
    found = Poisson(requests=3, source="queries").of(tiny)
    assert [a.text for a in found] == list(tiny.queries.text)[:3]
    assert [a.answer for a in found] == [tiny.answers[q].text for q in tiny.queries.id[:3]]


def test_a_kind_that_nobody_asks_is_named(busy):
    with pytest.raises(InputError, match="no request of kind 'canon'; did you mean 'canonical'"):
        Poisson(mix={"canon": 1}).of(busy)


def test_every_service_meets_the_same_traffic(busy, store):
    found = run_load(a_load(traffic=Poisson(rate=5, requests=60, seed=2)), busy, store=store)
    assert list(found) == ["plain", "cached"]
    arrived = [found[label].per_request["arrived"].tolist() for label in found]
    assert arrived[0] == arrived[1]
    assert found["plain"].per_request["hit"].eq("").all()
    assert found["cached"].per_request["hit"].ne("").sum() == 60 - 6
    again = run_load(a_load(traffic=Poisson(rate=5, requests=60, seed=2)), busy, store=store)
    assert found.digest == again.digest
    assert found.digest != run_load(a_load(traffic=Poisson(rate=5, requests=60, seed=3)), busy, store=store).digest


def test_documents_come_in_only_when_asked_to(busy, store):
    last = busy.documents.text[-1]
    asked = replace(busy, traffic=Traffic.of([{"text": last, "at": 1.0}, {"text": last, "at": 30.0}]))
    early, late = run_load(a_load(events=True), asked, store=store)["plain"].per_request["answer"]
    assert early != late
    assert len(set(run_load(a_load(), asked, store=store)["plain"].per_request["answer"])) == 1


def test_what_came_before_the_part_can_warm_caches(busy, store):
    texts = [busy.queries.text[0]] * 2
    asked = replace(busy, traffic=Traffic.of([{"text": t, "at": 10.0 * i} for i, t in enumerate(texts)]))
    cold = run_load(a_load(traffic=Recorded(between=(5, 20))), asked, store=store)
    warm = run_load(a_load(traffic=Recorded(between=(5, 20)), warm=1), asked, store=store)
    assert [len(seen["cached"].outcomes) for seen in (cold, warm)] == [1, 1]
    assert [seen["cached"].per_request["hit"][0] != "" for seen in (cold, warm)] == [False, True]


def test_a_target_that_fails_at_the_chosen_level_is_told(busy, store):
    traffic = Poisson(rate=1, requests=200, seed=1)
    limits = Targets(p95_ms=(50, 5000, 60_000), answered=1.0)
    loose = run_load(a_load(traffic=traffic, targets=limits), busy, store=store)
    assert loose.failed.empty
    assert set(loose.targets["level"]) == {"target", "acceptable", "maximum", "limit"}
    strict = run_load(a_load(traffic=traffic, targets=limits, level="target"), busy, store=store)
    assert strict.failed[["service", "target"]].values.tolist() == [["plain", "p95_ms"]]


def test_a_search_ends_in_a_rate_for_each_service(busy, store):
    how = HighestRate(requests=200, seeds=(0, 1), between=(0.5, 200), tolerance=0.1)
    load = a_load(targets=Targets(p95_ms=1000), rate=how, traffic=Poisson(requests=200))
    found = run_load(load, busy, store=store)
    assert max(found.rates["plain"].held.values()) < 12  # one core, a search takes it 0.1 s, and the grid has tenths
    assert found.rates["cached"].rate > 2 * found.rates["plain"].rate
    assert found.found_rates["service"].tolist() == ["plain", "cached"]


def test_results_are_saved_whole_and_replace_only_their_like(busy, store, tmp_path):
    found = run_load(a_load(traffic=Poisson(rate=5, requests=20), targets=Targets(p95_ms=1)), busy, store=store)
    place = found.save(tmp_path / "out")
    assert sorted(p.name for p in place.iterdir()) == ["manifest.json", "replays", "summary.csv", "targets.csv"]
    assert Replay.load(place / "replays" / "cached").digest == found["cached"].digest
    assert set(pd.read_csv(place / "summary.csv")["service"]) == {"plain", "cached"}
    assert found.save(place) == place  # an earlier run's
    (place / "mine.txt").write_text("dear diary")
    with pytest.raises(InputError, match=r"holds other things than a load's results \(mine.txt\)"):
        found.save(place)
    assert (place / "mine.txt").exists()
    assert not list(tmp_path.glob(".out*"))


def test_labels_that_differ_in_signs_alone_have_folders_of_their_own():
    assert list(places({"a/b": 0, "a b": 0, "A-B": 0, "..": 0}).values()) == ["a-b", "a-b-2", "A-B-3", "service"]


YAML = """
name: busy
dataset: data
traffic: {Poisson: {rate: 5, requests: 20, mix: {canonical: 3, trap: 1}}}
cost: {search: 0.1}
services:
  plain: {variant: &pipeline {chunk: Whole, retrieve: BM25}}
  cached: {variant: *pipeline, layers: [Cache]}
targets: {p95_ms: [1, 2, 3], answered: 0.9}
rate: {requests: 100, seeds: [1, 2]}
"""


def test_a_spec_reads_and_writes_back(tmp_path):
    (tmp_path / "busy.yaml").write_text(YAML)
    load = spec.load_replay(tmp_path / "busy.yaml")
    assert load.traffic == Poisson(5.0, 20, mix={"canonical": 3.0, "trap": 1.0})
    assert load.targets == Targets(p95_ms=(1.0, 2.0, 3.0), answered=0.9)
    assert load.services["cached"].layers == (Cache(),)
    assert load.services["cached"].variant == load.services["plain"].variant
    (tmp_path / "again.yaml").write_text(spec.as_yaml(load.plain()))
    assert spec.load_replay(tmp_path / "again.yaml") == load


WRONG = """
name: a name
dataset: data
traffic: {Recorded: {speed: 0}}
cores: 0
cost: roadmapp
services:
  plain: {variant: {chunk: Hole}}
  cached: {variant: {}, layers: [Cash]}
targets: {p95_ms: [3, 2, 1]}
rate: {seeds: [1, 1]}
patience: 0
"""


def test_all_faults_of_a_spec_come_at_once_with_their_lines(tmp_path):
    (tmp_path / "busy.yaml").write_text(WRONG)
    with pytest.raises(InputError) as caught:
        spec.load_replay(tmp_path / "busy.yaml")
    lines = str(caught.value).splitlines()
    for line, what in (
        (2, "'a name' must be letters"),
        (4, "speed is 0"),
        (5, "cores: is 0"),
        (6, "no latency profile 'roadmapp'; did you mean 'roadmap'"),
        (8, "Hole"),
        (9, "unknown Layer 'Cash'; did you mean 'Cache'"),
        (10, "each level must be looser"),
        (11, "different seeds are needed"),
        (12, "patience: is 0"),
    ):
        assert any(f"busy.yaml:{line}:" in told and what in told for told in lines), (line, what, lines)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"services": {}}, "services: is empty"),
        ({"clock": "wall"}, "cost: real time takes what it takes"),
        ({"events": True, "traffic": Poisson()}, "events: documents come at recorded times"),
        ({"warm": 5}, "warm: is a number of requests before"),
        ({"rate": HighestRate()}, "rate: is searched for under targets"),
        ({"rate": HighestRate(), "targets": Targets(rate=3)}, "rate: is what is searched for"),
        ({"rate": HighestRate(), "targets": Targets(p95_ms=3), "traffic": Closed()}, "rate: is a result"),
        ({"cost": {"search": -1}}, "cost: seconds are numbers from 0"),
        ({"seed": -1}, "seed: is -1"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(changes, what):
    with pytest.raises(InputError, match=what):
        a_load(**changes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recorded(between=(3, 2)),
        lambda: Recorded(speed=0),
        lambda: Poisson(rate=0),
        lambda: Poisson(requests=0),
        lambda: Poisson(mix={"a": 0}),
        lambda: Closed(users=0),
        lambda: HighestRate(between=(1, 1)),
        lambda: HighestRate(tolerance=0),
    ],
)
def test_traffic_that_cannot_be_is_refused(make):
    with pytest.raises(InputError):
        make()


def test_the_projects_replay_loads_and_is_named_like_its_file():
    load = spec.load_replay(Path(__file__).parents[3] / "experiments" / "serving.yaml")
    assert load.name == "serving"
    assert load.description
    assert len(load.services) == 4
    fingerprints = {service.fingerprint for service in load.services.values()}
    assert len(fingerprints) == 4
