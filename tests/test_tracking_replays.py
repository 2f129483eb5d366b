"""Replays in MLflow: a run a service, with numbers that compare."""

from __future__ import annotations

import json

import pytest
from toys import keywords

from evalkit import InputError, Service
from evalkit.serving import Cache
from evalkit.serving.load.load import HighestRate, Load
from evalkit.serving.load.replays import run_load
from evalkit.serving.load.traffics import Poisson
from evalkit.serving.results.targets import Targets
from evalkit.store import DiskStore
from evalkit.tracking import track_replays, tracking_uri


@pytest.fixture(scope="module")
def found(tiny, tmp_path_factory):
    load = Load(
        name="two-services",
        dataset="datasets/tiny",
        services={"no cache": keywords(), "a/cache": Service(keywords(), (Cache(ttl=30),))},
        traffic=Poisson(rate=9, requests=60, source="queries"),
        targets=Targets(p95_ms=250),
        rate=HighestRate(requests=60, seeds=(0, 1), between=(0.2, 50), tolerance=0.2),
        description="what a cache is worth",
        cost={"search": 0.1},
    )
    return run_load(load, tiny, store=DiskStore(tmp_path_factory.mktemp("store")))


@pytest.fixture
def saved(found, tmp_path, monkeypatch):
    """Its folder, and MLflow's places in a temporary folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("EVALKIT_MLFLOW", str(tmp_path / "mlflow"))
    return found.save(tmp_path / "results")


def runs_of(name="two-services"):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return [r for r in runs if "mlflow.parentRunId" not in r.data.tags], [
        r for r in runs if "mlflow.parentRunId" in r.data.tags
    ]


def test_a_load_is_one_parent_with_a_child_for_each_service(found, saved):
    from mlflow import MlflowClient

    parent_id = track_replays(found, saved)
    (parent,), children = runs_of()
    assert parent.info.run_id == parent_id
    assert [run.info.run_name for run in children] == ["no cache", "a/cache"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.data.tags["mlflow.note.content"] == "what a cache is worth"

    plain, cached = (run.data for run in children)
    summary = found["no cache"].summary.set_index("metric")
    assert plain.metrics["p95"] == summary.loc["P95", "value"]
    assert plain.metrics["p95.low"] == summary.loc["P95", "low"]
    assert plain.metrics["highest_rate"] == found.rates["no cache"].rate
    assert (plain.metrics["targets_failed"], plain.tags["evalkit.missed"]) == (1.0, "p95_ms")
    assert plain.tags["evalkit.first_to_break"] == found.rates["no cache"].broke
    assert plain.metrics["hit_rate"] == 0 < cached.metrics["hit_rate"]
    assert not [name for name in (*plain.metrics, *cached.metrics) if "@" in name]
    assert set(plain.metrics) & set(cached.metrics) >= {
        "mean",
        "p50",
        "p95",
        "throughput",
        "answered",
        "highest_rate",
    }

    assert (cached.params["layers.0"], cached.params["layers.0.ttl"]) == ("Cache", "30")
    assert "layers.0" not in plain.params
    assert plain.params["variant.retrieve"] == "BM25"
    assert json.loads(plain.params["traffic"]) == {"Poisson": {"rate": 9.0, "requests": 60, "source": "queries"}}

    client = MlflowClient(tracking_uri())
    listed = {file.path for file in client.list_artifacts(parent_id)}
    assert {"spec.yaml", "summary.csv", "targets.csv", "rates.csv", "trials.csv", "manifest.json"} == listed
    own = {file.path for file in client.list_artifacts(children[1].info.run_id)}
    assert {"summary.csv", "per_request.csv", "per_second.csv", "caching.csv", "requests.parquet"} <= own
    for run in (parent, *children):
        (entry,) = run.inputs.dataset_inputs
        assert entry.dataset.name == "tiny"

    assert track_replays(found, saved) == parent_id  # the same results are not logged again
    assert len(runs_of()[1]) == 2


def test_what_an_interrupted_attempt_left_is_replaced(found, saved, monkeypatch):
    from evalkit.tracking import log_replays

    with monkeypatch.context() as patch:
        patch.setattr(log_replays, "service_metrics", lambda found, label: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            track_replays(found, saved)
    assert [run.info.status for run in runs_of()[0]] == ["FAILED"]
    track_replays(found, saved)
    (parent,), children = runs_of()
    assert parent.info.status == "FINISHED"
    assert len(children) == 2


def test_a_folder_of_other_results_is_refused(found, saved, tmp_path):
    (saved / "manifest.json").write_text('{"digest": "another"}')
    with pytest.raises(InputError, match="other results than those to be tracked"):
        track_replays(found, saved)
    with pytest.raises(InputError, match="other results than those to be tracked"):
        track_replays(found, tmp_path / "nowhere")
