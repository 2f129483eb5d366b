"""Tests of evalkit.tracking on a real SQLite store, and on a real tracking server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.results import SUMMARY_COLUMNS, Results
from evalkit.tracking import records, track, tracking_uri, ui_command, ui_url

LABELS = ("base", "retrieve.k=1", "retrieve.k=10")
HIDDEN = "s3cret"


def make_results(labels=LABELS, value=0.5) -> Results:
    numbers = [
        ("nDCG@10", value, 0.4, 0.6, 20, ""),
        ("PromptTokens", 120.0, 110.0, 130.0, 20, "tokens"),
        ("Chunks", 230.0, 230.0, 230.0, 230, "chunks"),
        ('P95(stage="embed")', 14.0, 13.0, float("inf"), 8, "ms"),
    ]
    rows = [(label, f"f-{label}", *row, "measured") for label in labels for row in numbers]
    manifest = {
        "spec": {"name": "ranking depth", "dataset": "datasets/handbook", "description": "How deep?"},
        "data": {
            "name": "handbook", "digest": "7" * 40, "documents": 52, "queries": 20, "judgements": 90,
            "unjudged queries": ["q7"],
        },
        "versions": {"evalkit": "0.1.0", "numpy": "2.4.6"},
        "machine": {"processor": "A chip", "cores": 2, "memory_gib": 24, "system": "Linux", "python": "3.12.1"},
        "commit": "0123456789ab+",
        "control": {"difference_ms": -1.675, "low": -6.1, "high": 2.14, "p": 0.4, "n": 8},
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 27.87,
        "parameters": {
            label: {
                "retrieve": "Dense", "retrieve.k": i, "rerank": None, "retrieve.prefix": "",
                "retrieve.embedder.model": "/home/someone/models/MiniLM", "generate.prompt": "x" * 7000,
            }
            for i, label in enumerate(labels)
        },
    }  # fmt: skip
    per_query = pd.DataFrame({"variant": labels[0], "query": ["q1"], "metric": "nDCG@10", "value": [0.5]})
    systems = {label: f"f-{label}" for label in labels}
    return Results(pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)), per_query, systems, labels[0], manifest)


@pytest.fixture
def new_home(tmp_path, monkeypatch):
    """A project of its own in a folder with a space, no tracking variable set, nothing tracked yet."""
    for name in ("MLFLOW_TRACKING_URI", "EVALKIT_MLFLOW", "EVALKIT_RESULTS", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "a project"
    folder.mkdir()
    monkeypatch.setenv("EVALKIT_ROOT", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow's tables, made once: that takes longer than all that a test logs."""
    place = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("EVALKIT_MLFLOW", str(place))
        ui_command()
    return place / "mlflow.db"


@pytest.fixture
def home(new_home, empty_database):
    """The same, with an empty database."""
    place = new_home / ".evalkit" / "mlflow"
    place.mkdir(parents=True)
    shutil.copy(empty_database, place)
    return new_home


def runs_of(uri=None, name="ranking depth"):
    """The parents and the children that the store shows, newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or tracking_uri())
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in children], children


def test_a_sweep_is_one_parent_with_a_child_for_each_variant_in_the_sweeps_order(home):
    parent_id = track(make_results())
    (parent,), children = runs_of()
    assert parent.info.run_id == parent_id
    assert [run.info.run_name for run in children] == list(LABELS)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert [run.data.tags["evalkit.role"] for run in (parent, *children)] == ["sweep", "base"] + 2 * ["variant"]


def test_metrics_bear_mlflows_names_and_their_finite_bounds(home):
    track(make_results())
    _, children = runs_of()
    assert children[0].data.metrics == {
        "ndcg_at_10": 0.5, "ndcg_at_10.low": 0.4, "ndcg_at_10.high": 0.6,
        "prompt_tokens": 120.0, "prompt_tokens.low": 110.0, "prompt_tokens.high": 130.0,
        "chunks": 230.0, "chunks.low": 230.0, "chunks.high": 230.0,
        "p95_embed": 14.0, "p95_embed.low": 13.0,
    }  # fmt: skip


def test_parameters_bear_dotted_names_and_neither_paths_nor_more_than_mlflow_takes(home):
    track(make_results())
    _, children = runs_of()
    params = children[1].data.params
    assert params["retrieve"] == "Dense"
    assert params["retrieve.k"] == "1"
    assert params["rerank"] == "null"
    assert params["retrieve.embedder.model"] == "MiniLM"
    assert len(params["generate.prompt"]) == 6000


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/someone/models/MiniLM", "MiniLM"),
        ("/home/some one/models/MiniLM", "MiniLM"),
        ("Dense(model=/home/someone/m) k=1", "Dense(model=m) k=1"),
        ("model=~/models/m", "model=m"),
        ("file:///home/someone/m", "m"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("either/or", "either/or"),
    ],
)
def test_absolute_paths_keep_only_their_last_name(given, shown):
    assert records.run_name(given) == shown


def test_every_run_has_the_data_set_as_an_input(home):
    track(make_results())
    parents, children = runs_of()
    for run in parents + children:
        (entry,) = run.inputs.dataset_inputs
        assert (entry.dataset.name, entry.dataset.digest) == ("handbook", "7" * 36)
        assert json.loads(entry.dataset.source) == {"uri": "datasets/handbook"}
        assert json.loads(entry.dataset.profile)["unjudged queries"] == 1


def test_tags_say_what_produced_the_numbers(home):
    results = make_results()
    track(results)
    (parent,), children = runs_of()
    for run in (parent, *children):
        tags = run.data.tags
        assert tags["commit"] == "0123456789ab+"
        assert tags["versions"] == "evalkit 0.1.0, numpy 2.4.6"
        assert tags["machine"] == "A chip, 2 cores, 24 GiB, Linux, Python 3.12.1"
        assert tags["origin"] == "measured"
        assert tags["evalkit.results"] == results.digest
    assert children[1].data.tags["evalkit.variant"] == "retrieve.k=1"
    assert children[1].data.tags["evalkit.fingerprint"] == "f-retrieve.k=1"
    assert parent.data.tags["control"] == "-1.68 ms [-6.10, +2.14], n = 8"


def test_the_stored_view_shows_the_swept_parameters_and_the_means(home):
    from mlflow import MlflowClient

    track(make_results())
    experiment = MlflowClient(tracking_uri()).get_experiment_by_name("ranking depth")
    view = json.loads(experiment.tags["mlflow.sharedViewState.evalkit"])
    assert view["selectedColumns"] == ["params.`retrieve.k`", "metrics.`ndcg_at_10`", "metrics.`prompt_tokens`"]
    assert ui_url(5001, "ranking depth").startswith(
        f"http://127.0.0.1:5001/#/experiments/{experiment.experiment_id}/runs?"
    )
    assert ui_url(5001, "never run") == ui_url(5001)


def test_results_are_saved_and_their_files_and_plots_are_artifacts_of_the_parent(home):
    from mlflow import MlflowClient

    results = make_results()
    folder = results.save()
    (folder / "report.html").write_text("report")
    (folder / "plots").mkdir()
    (folder / "plots" / "depth.svg").write_text("<svg/>")
    run = track(results)
    client = MlflowClient(tracking_uri())
    files = {"manifest.json", "per_query.parquet", "summary.csv", "spec.yaml", "report.html", "plots"}
    assert {entry.path for entry in client.list_artifacts(run)} == files
    assert [entry.path for entry in client.list_artifacts(run, "plots")] == ["plots/depth.svg"]
    assert (folder / "report.html").exists()
    assert list((home / ".evalkit/mlflow/artifacts").rglob("summary.csv"))
    assert not (Path.cwd() / "mlruns").exists()


def test_results_that_are_not_on_disk_are_saved_first(home):
    track(make_results())
    assert Results.load(home / "results" / "ranking depth").digest == make_results().digest


def test_a_folder_with_other_results_is_refused(new_home):
    folder = make_results(value=0.45).save(new_home / "other")
    with pytest.raises(InputError, match="other results"):
        track(make_results(), folder=folder)
    assert not (new_home / ".evalkit").exists()


def test_tracking_the_same_results_again_changes_nothing(home):
    first = track(make_results())
    loaded = Results.load(home / "results" / "ranking depth")
    before = [run.info.run_id for group in runs_of() for run in group]
    assert track(make_results()) == track(loaded) == first
    assert [run.info.run_id for group in runs_of() for run in group] == before


def test_other_numbers_are_another_sweep_of_the_same_experiment(home):
    assert track(make_results()) != track(make_results(value=0.45))
    parents, children = runs_of()
    assert (len(parents), len(children)) == (2, 6)


KILLED = """
import sys, mlflow
from test_tracking import make_results
from evalkit.tracking import track
finish, left = mlflow.MlflowClient.set_terminated, [int(sys.argv[1])]
def set_terminated(*args):
    finish(*args)
    left[0] -= 1
    if not left[0]:
        print("now", flush=True)
        sys.stdin.read()
mlflow.MlflowClient.set_terminated = set_terminated
track(make_results())
"""


@pytest.mark.parametrize("children", [1, 3])
def test_what_a_killed_process_left_is_replaced(home, children):
    command = [sys.executable, "-c", KILLED, str(children)]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
    (half,), begun = runs_of()
    assert (half.info.status, len(begun)) == ("RUNNING", children)
    parent_id = track(make_results())
    (parent,), found = runs_of()
    assert parent.info.run_id == parent_id != half.info.run_id
    assert [run.info.run_name for run in found] == list(LABELS)


def test_a_database_whose_making_was_cut_short_is_made_anew(new_home):
    folder = new_home / ".evalkit" / "mlflow"
    folder.mkdir(parents=True)
    (folder / ".mlflow.db.0.part").write_bytes(b"half a database")
    track(make_results())
    assert len(runs_of()[1]) == len(LABELS)
    assert not list(folder.glob("*.part*"))


def test_a_database_that_was_deleted_is_made_again_in_the_same_process(home):
    track(make_results())
    (home / ".evalkit/mlflow/mlflow.db").unlink()
    track(make_results())
    assert len(runs_of()[1]) == len(LABELS)


def test_an_experiment_deleted_in_mlflow_comes_back(home):
    from mlflow import MlflowClient

    track(make_results())
    client = MlflowClient(tracking_uri())
    client.delete_experiment(client.get_experiment_by_name("ranking depth").experiment_id)
    track(make_results())
    assert len(runs_of()[1]) == len(LABELS)


def test_two_threads_that_track_the_same_results_log_them_once(home):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(track(make_results()))) for _ in range(2)]
    make_results().save()
    before = dict(os.environ)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert dict(os.environ) == before
    assert len(runs_of()[1]) == len(LABELS)


def test_variables_of_an_active_run_do_not_take_over(home, monkeypatch):
    track(make_results())
    other = runs_of()[0][0]
    monkeypatch.setenv("MLFLOW_RUN_ID", other.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    monkeypatch.setenv("MLFLOW_ACTIVE_MODEL_ID", "m-none")
    assert track(make_results(value=0.45)) != other.info.run_id
    parents, children = runs_of()
    assert (len(parents), len(children)) == (2, 6)
    assert os.environ["MLFLOW_ACTIVE_MODEL_ID"] == "m-none"


def test_the_first_use_says_nothing_and_importing_evalkit_leaves_mlflow_alone(new_home):
    code = (
        "import sys, evalkit, evalkit.tracking as t; assert 'mlflow' not in sys.modules\n"
        "from test_tracking import make_results; t.track(make_results())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    found = subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "default::UserWarning"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (found.stdout, found.stderr) == ("", "")


@pytest.mark.parametrize("broken", ["a file for a folder", "a folder for the database", "not a database"])
def test_a_database_that_cannot_be_written_is_one_line_and_results_stay(new_home, broken):
    place = new_home / ".evalkit" / "mlflow"
    if broken == "a file for a folder":
        place.parent.mkdir()
        place.write_text("")
    else:
        place.mkdir(parents=True)
        database = place / "mlflow.db"
        database.mkdir() if broken == "a folder for the database" else database.write_text("not a database" * 99)
    with pytest.raises(EvalkitError, match=r"mlflow\.db: MLflow cannot be .* EVALKIT_MLFLOW") as raised:
        track(make_results())
    assert "\n" not in str(raised.value)
    assert Results.load(new_home / "results" / "ranking depth").digest == make_results().digest


def test_a_server_that_is_not_there_is_one_line_without_its_password(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{HIDDEN}@127.0.0.1:{free_port()}")
    begun = time.monotonic()
    with pytest.raises(EvalkitError, match="start that server or unset MLFLOW_TRACKING_URI") as raised:
        track(make_results())
    assert time.monotonic() - begun < 30
    assert "\n" not in str(raised.value)
    assert HIDDEN not in str(raised.value)
    assert Results.load(home / "results" / "ranking depth").digest == make_results().digest


def test_a_sqlite_address_from_the_environment_is_used(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'other place' / 'runs.db'}")
    track(make_results())
    assert len(runs_of()[1]) == len(LABELS)
    assert not (Path.cwd() / "mlruns").exists()


def test_a_failure_half_way_leaves_no_run_that_looks_whole(home, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "metrics", stop)
        with pytest.raises(KeyboardInterrupt):
            track(make_results())
    (half,), children = runs_of()
    assert (half.info.status, children) == ("FAILED", [])
    assert track(make_results()) != half.info.run_id
    assert len(runs_of()[0]) == 1


def test_a_tracking_server_takes_the_same_runs(home, monkeypatch):
    port = free_port()
    command = ui_command(port)
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    assert ui_url(port).startswith(f"http://127.0.0.1:{port}/#/experiments")
    with subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            assert ui_command() == []
            parent_id = track(make_results())
            assert track(make_results()) == parent_id
            (parent,), children = runs_of()
            assert parent.info.run_id == parent_id
            assert [run.info.run_name for run in children] == list(LABELS)
            assert "viewStateShareKey" in ui_url(experiment="ranking depth")
        finally:
            server.terminate()
            server.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, server: subprocess.Popen) -> None:
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not come up")
