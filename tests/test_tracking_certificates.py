"""Certifications in MLflow: a run a setting, so that thresholds compare."""

from __future__ import annotations

import json

import pytest
from desk import certification, desk, near

from evalkit import InputError
from evalkit.serving.semantic import Verified
from evalkit.serving.thresholds.run import run_certification
from evalkit.store import DiskStore
from evalkit.testing.words import HashedWords
from evalkit.tracking import track_certificates, tracking_uri


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    spec = certification(
        rules=(Verified(0.3, floor=0.8),), ttls=(600.0, None), cache=near(embedder=None, ttl=86_400.0),
        embedders={"words": HashedWords(dimensions=4096)},
    )  # fmt: skip
    return run_certification(spec, desk(), store=DiskStore(tmp_path_factory.mktemp("store")))


@pytest.fixture
def saved(found, tmp_path, monkeypatch):
    """Its folder, and MLflow's places in a temporary folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("EVALKIT_MLFLOW", str(tmp_path / "mlflow"))
    return found.save(tmp_path / "results", plots={"thresholds.png": b"\x89PNG"})


def runs_of(name="desk"):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return [r for r in runs if "mlflow.parentRunId" not in r.data.tags], [
        r for r in runs if "mlflow.parentRunId" in r.data.tags
    ]


def test_a_certification_is_one_parent_with_a_child_for_each_setting(found, saved):
    from mlflow import MlflowClient

    parent_id = track_certificates(found, saved)
    (parent,), children = runs_of()
    made, (sweep,) = found.certificate, found.sweeps.values()
    assert parent.info.run_id == parent_id
    assert [run.info.run_name for run in children] == [f"words, {sweep.label(i)}" for i in range(8)]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.data.tags["evalkit.certified"] == "yes"
    assert parent.data.tags["evalkit.verdict"] == str(made)
    assert parent.data.tags["mlflow.note.content"] == "what may be remembered"
    assert parent.data.metrics["share.high"] == made.design.test.high
    assert parent.data.metrics["dev_hit_rate"] == made.design.dev.hit_rate
    assert (parent.data.params["budget"], parent.data.params["of"]) == ("0.2", "answers")

    rows = found.settings.query("kind == 'all'").set_index(["part", "setting"])
    for i, run in enumerate(children):
        row, numbers = rows.loc[("test", i)], run.data.metrics
        assert numbers["hit_rate"] == row["hit_rate"]
        assert numbers["served_wrong.high"] == row["served_wrong_high"]
        assert numbers["saved_ms"] == row["saved_ms"]
        assert numbers["dev_hit_rate"] == rows.loc[("dev", i), "hit_rate"]
        assert "saved_usd" not in numbers  # stated seconds have no price
        assert run.data.params["embedder"] == "words"
    held = {run.info.run_name: run.data.tags["evalkit.certified"] for run in children}
    assert {name for name, word in held.items() if word == "yes"} == {d.label for d in made.designs if d.certified}
    assert "not looked at" in held.values()

    strict, verified = children[2].data.params, children[3].data.params
    assert (strict["threshold"], strict["ttl"], strict["guard"]) == ("1.0", "600.0", "none")
    assert (verified["error"], verified["rule"]) == ("0.3", "verified 0.3")
    assert "threshold" not in verified
    assert children[4].data.params["ttl"] == "none"

    client = MlflowClient(tracking_uri())
    listed = {file.path for file in client.list_artifacts(parent_id)}
    tables = {f"{name}.csv" for name in ("settings", "designs", "kinds", "confusions", "entries")}
    assert listed == {"spec.yaml", "manifest.json", "plots", *tables}
    assert [file.path for file in client.list_artifacts(parent_id, "plots")] == ["plots/thresholds.png"]
    for run in (parent, *children):
        (entry,) = run.inputs.dataset_inputs
        assert entry.dataset.name == "small"
    view = client.get_experiment(parent.info.experiment_id).tags["mlflow.sharedViewState.evalkit"]
    assert "params.`threshold`" in json.loads(view)["selectedColumns"]

    assert track_certificates(found, saved) == parent_id  # the same results are not logged again
    assert len(runs_of()[1]) == 8


def test_what_an_interrupted_attempt_left_is_replaced(found, saved, monkeypatch):
    from evalkit.tracking import log_certificates

    with monkeypatch.context() as patch:
        parameters = log_certificates.setting_parameters
        patch.setattr(
            log_certificates, "setting_parameters", lambda *given: 1 / 0 if given[2] == 3 else parameters(*given)
        )
        with pytest.raises(ZeroDivisionError):
            track_certificates(found, saved)
    assert [run.info.status for run in runs_of()[0]] == ["FAILED"]
    assert len(runs_of()[1]) == 4
    track_certificates(found, saved)
    (parent,), children = runs_of()
    assert parent.info.status == "FINISHED"
    assert len(children) == 8


def test_a_folder_of_another_certification_is_refused(found, saved, tmp_path):
    (saved / "manifest.json").write_text('{"digest": "another"}')
    with pytest.raises(InputError, match="other results than those to be tracked"):
        track_certificates(found, saved)
    with pytest.raises(InputError, match="other results than those to be tracked"):
        track_certificates(found, tmp_path / "nowhere")
