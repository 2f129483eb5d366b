"""``evalkit replay`` from a terminal: tables, files, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

DATA = {
    "documents.jsonl": [
        '{"id": "d1", "text": "Red apples grow on trees. They are sweet."}',
        '{"id": "d2", "text": "Green pears fall in autumn."}',
    ],
    "queries.jsonl": [
        '{"id": "q1", "text": "What do apples grow on?"}',
        '{"id": "q2", "text": "When do pears fall?"}',
    ],
    "qrels.tsv": ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q2\td2\t2"],
    "traffic.jsonl": [
        '{"at": 1.0, "user": "u", "text": "What do apples grow on?", "kind": "canonical"}',
        '{"at": 1.1, "user": "v", "text": "What do apples grow on?", "kind": "canonical"}',
        '{"at": 9.0, "user": "u", "text": "When do pears fall?", "kind": "paraphrase"}',
        '{"at": 20.0, "user": "u", "text": "When do pears fall?", "kind": "paraphrase"}',
    ],
}
SPEC = """
name: fruit
dataset: data
cost: {search: 0.3}
services:
  plain: {variant: &pipeline {chunk: Whole, retrieve: BM25}}
  cached: {variant: *pipeline, layers: [Cache]}
targets: {p95_ms: LIMIT}
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of a user's own: a data set with traffic, and a replay's spec."""
    for variable in ("EVALKIT_ROOT", "EVALKIT_STORE", "EVALKIT_RESULTS", "EVALKIT_MLFLOW", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "evalkit.toml").write_text("")
    for name, lines in DATA.items():
        (folder / "data" / name).write_text("\n".join(lines) + "\n")
    (folder / "fruit.yaml").write_text(SPEC.replace("LIMIT", "1000"))
    (folder / "strict.yaml").write_text(SPEC.replace("LIMIT", "100"))
    monkeypatch.chdir(folder)
    return folder


def written(project: Path) -> list[str]:
    return sorted(
        p.name for p in project.iterdir() if p.name not in ("data", "evalkit.toml", "fruit.yaml", "strict.yaml")
    )


def test_a_replay_prints_its_tables_and_leaves_its_files(project, call):
    code, out, err = call("replay", "fruit.yaml", "--no-track")
    assert (code, err) == (0, "")
    # a search takes 300 ms; the second question came while the first one's was under way
    assert "plain" in out
    assert "cached" in out
    assert "n = 4 requests" in out
    assert "results  results/fruit" in out
    assert "highest rate" not in out
    folder = project / "results" / "fruit"
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json", "plots", "replays", "summary.csv", "targets.csv"
    ]  # fmt: skip
    drawn = sorted(p.name for p in (folder / "plots").iterdir())
    assert drawn == ["cached-requests.png", "cached-timeline.png", "plain-requests.png", "plain-timeline.png"]
    assert all((folder / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in drawn)
    rows = pd.read_csv(folder / "replays" / "plain" / "per_request.csv")
    assert rows["ms"].round(6).tolist() == [300.0, 500.0, 300.0, 300.0]
    first = (folder / "summary.csv").read_bytes()
    assert call("replay", "fruit.yaml", "--no-track")[0] == 0
    assert (folder / "summary.csv").read_bytes() == first


def test_a_missed_target_fails_the_command_and_is_named(project, call):
    code, out, err = call("replay", "strict.yaml", "--no-track")
    assert (code, err) == (1, "")
    assert "MISSED   plain: p95_ms is 470, not at most 100" in out
    assert (project / "results" / "fruit" / "targets.csv").is_file()


def test_the_highest_rate_is_searched_for_when_asked_for(project, call):
    (project / "fruit.yaml").write_text(
        SPEC.replace("LIMIT", "1000") + "rate: {requests: 60, seeds: [0, 1], between: [0.1, 20], tolerance: 0.2}\n"
    )
    code, out, err = call("replay", "fruit.yaml", "--no-track", "--cores", 2)
    assert (code, err) == (0, "")
    assert "highest rate (requests/s)" in out
    rates = pd.read_csv(project / "results" / "fruit" / "rates.csv").set_index("service")
    assert 1 < rates.loc["plain", "rate"] < 7  # two cores, 0.3 s each
    assert rates.loc["plain", "broke"] == "cores: search"
    trials = pd.read_csv(project / "results" / "fruit" / "trials.csv")
    assert set(trials["seed"]) == {0, 1}


def test_real_time_is_real(project, call):
    (project / "fruit.yaml").write_text(
        SPEC.replace("LIMIT", "5000").replace("cost: {search: 0.3}", "traffic: {Recorded: {speed: 40}}")
    )
    code, out, err = call("replay", "fruit.yaml", "--no-track", "--clock", "wall")
    assert (code, err) == (0, "")
    assert "measured." in out
    assert call("replay", "strict.yaml", "--clock", "wall")[0] == 2


def test_a_check_replays_nothing_and_writes_nothing(project, call):
    code, out, err = call("replay", "fruit.yaml", "--check")
    assert (code, err) == (0, "")
    assert out == "fruit.yaml: 2 services on Dataset data: 2 documents, 2 queries, 2 judgements, 4 requests\n"
    assert written(project) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("layers: [Cache]", "layers: [Cash]", "fruit.yaml:7: services.cached.layers: unknown Layer 'Cash'"),
        ("dataset: data", "dataset: date", "fruit.yaml:3: dataset: "),
        ("cost:", "traffic: {Poisson: {mix: {rude: 1}}}\ncost:", "no request of kind 'rude'"),
        ("name: fruit", "name: fruit\nrate: {}\ntargets: {}", "targets: is given twice"),
        ("targets: {p95_ms: 1000}", "rate: {}", "rate: is searched for under targets"),
        ("cost:", "cores: 0\nclock: sun\ncost:", "clock: 'sun' is not one of"),
    ],
)
def test_wrong_input_is_told_with_its_line_and_leaves_nothing(project, call, old, new, what):
    text = SPEC.replace("LIMIT", "1000")
    assert old in text
    (project / "fruit.yaml").write_text(text.replace(old, new))
    code, out, err = call("replay", "fruit.yaml")
    assert (code, out) == (2, "")
    assert what in err
    assert written(project) == []


def test_an_option_that_cannot_be_is_told_by_its_name(project, call):
    code, _, err = call("replay", "fruit.yaml", "--cores", 0)
    assert (code, err) == (2, "evalkit: --cores: is 0; it must be at least 1\n")
    code, _, err = call("replay", "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml: cannot be read" in err


def test_a_folder_with_other_things_is_refused_before_any_work(project, call):
    (project / "mine").mkdir()
    (project / "mine" / "letter.txt").write_text("dear")
    code, out, err = call("replay", "fruit.yaml", "--out", "mine")
    assert (code, out) == (2, "")
    assert "holds other things than a load's results (letter.txt)" in err
    assert not (project / ".evalkit").exists()


def test_data_that_is_missing_can_be_skipped(project, call):
    text = SPEC.replace("LIMIT", "1000").replace("dataset: data", "dataset: gone\nwithout_data: skip")
    (project / "fruit.yaml").write_text(text)
    code, out, err = call("replay", "fruit.yaml")
    assert (code, err) == (0, "")
    assert "skipped" in out
    assert written(project) == []


@pytest.mark.slow  # MLflow makes its database anew
def test_from_a_shell_a_missed_target_is_exit_code_1_and_runs_are_tracked(project):
    done = subprocess.run(
        [sys.executable, "-m", "evalkit.cli", "replay", "strict.yaml"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "MLflow " in done.stdout
    assert "MISSED " in done.stdout
    assert (project / ".evalkit" / "mlflow" / "mlflow.db").is_file()
