"""``evalkit certify`` from a terminal: the verdict, files, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny_model import save_tiny_model

from evalkit.serving.thresholds.results import Certified

WORDS = ["ferry", "harbour", "crossing", "ticket", "dog", "bicycle", "boat", "island", "car", "child"]
PLACES = ("boat", "harbour", "island", "crossing")
SPEC = """
name: ferries
description: what may be remembered
dataset: data
variant: {chunk: Whole, retrieve: BM25}
cost: {search: 0.3}
cache: {embedder: {SentenceTransformer: {model: MODEL, max_length: 64}}, guard: none}
thresholds: [1.0]
budget: 0.2
split: {BySplit: {dev: dev, test: test}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def project(tmp_path, monkeypatch, model) -> Path:
    """A project of a user's own: forty questions, each asked four times, half of them to tune on."""
    for variable in ("EVALKIT_ROOT", "EVALKIT_STORE", "EVALKIT_RESULTS", "EVALKIT_MLFLOW", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "evalkit.toml").write_text("")
    asked = [f"is the {one} free in the {place}" for one in WORDS for place in PLACES]
    intents = [
        {
            "intent": f"i{i}", "tenant": "t", "split": ("dev", "test")[i % 2], "text": text, "answer": "It is.",
            "evidence": [{"document": "d1", "start": 0, "end": 6}],
        }
        for i, text in enumerate(asked)
    ]  # fmt: skip
    traffic = [
        {
            "at": 5.0 * k, "user": f"u{k}", "tenant": "t", "text": asked[k % 40], "intent": f"i{k % 40}",
            "answer": "It is.", "kind": "canonical",
        }
        for k in range(160)
    ]  # fmt: skip
    documents = [{"id": "d1", "text": "It is. All is free."}, {"id": "d2", "text": "The harbour is closed."}]
    lines = {"documents": documents, "paraphrases": intents, "traffic": traffic}
    lines["queries"] = [{"id": "q1", "text": "is all free"}]
    for name, rows in lines.items():
        (folder / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "data" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    (folder / "ferries.yaml").write_text(SPEC.replace("MODEL", model))
    monkeypatch.chdir(folder)
    return folder


def change(project: Path, old: str, new: str) -> None:
    text = (project / "ferries.yaml").read_text()
    assert old in text
    (project / "ferries.yaml").write_text(text.replace(old, new))


def written(project: Path) -> list[str]:
    return sorted(p.name for p in project.iterdir() if p.name not in ("data", "evalkit.toml", "ferries.yaml"))


def test_a_certified_cache_is_told_in_a_line_and_leaves_its_files(project, call):
    code, out, err = call("certify", "ferries.yaml", "--no-track")
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert first.startswith(
        "CERTIFIED  1 meets 0.2 of answers wrong at 95% confidence: 0 of 80 answers wrong on test"
    )
    assert "hit rate 75.0%" in first
    assert "canonical  80        75.00%" in out
    assert "results  results/ferries" in out
    folder = project / "results" / "ferries"
    assert sorted(p.name for p in folder.iterdir()) == [
        "confusions.csv", "decisions.parquet", "designs.csv", "entries.csv", "kinds.csv", "manifest.json", "plots",
        "requests.parquet", "settings.csv",
    ]  # fmt: skip
    assert (folder / "plots" / "thresholds.png").read_bytes().startswith(b"\x89PNG")
    found = Certified.load(folder)
    assert set(found.sweeps[""].seconds.round(9)) == {0.3}
    tables = {name: (folder / name).read_bytes() for name in ("settings.csv", "kinds.csv", "designs.csv")}
    assert call("certify", "ferries.yaml", "--no-track")[0] == 0
    assert {name: (folder / name).read_bytes() for name in tables} == tables
    assert Certified.load(folder).digest == found.digest


def test_a_cache_that_errs_too_often_fails_the_command(project, call):
    change(project, "thresholds: [1.0]", "thresholds: [-1.0, 0.0]")
    code, out, err = call("certify", "ferries.yaml", "--no-track", "--out", "elsewhere")
    assert (code, err) == (1, "")
    assert out.startswith("NOT CERTIFIED  no threshold meets 0.2 of answers wrong at 95% confidence")
    assert "which got the answer to" in out
    assert pd.read_csv(project / "elsewhere" / "designs.csv")["certified"].tolist() == [False]
    assert json.loads((project / "elsewhere" / "manifest.json").read_text())["certified"] is False


def test_stated_seconds_need_no_variant(project, call):
    change(project, "variant: {chunk: Whole, retrieve: BM25}\ncost: {search: 0.3}", "calls: 0.55")
    code, out, _ = call("certify", "ferries.yaml", "--no-track")
    assert code == 0
    assert "calls: modelled" in out


def test_a_certification_check_runs_nothing_and_writes_nothing(project, call):
    change(project, "thresholds: [1.0]", "thresholds: {between: [0.8, 1.0], step: 0.01}\nttls: [60, null]")
    code, out, err = call("certify", "ferries.yaml", "--check")
    assert (code, err) == (0, "")
    assert out.startswith("ferries.yaml: 42 settings on Dataset data: 2 documents")
    assert written(project) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            "budget: 0.2",
            "budgett: 0.2",
            "ferries.yaml:9: budgett: Certification has no field 'budgett'; did you mean",
        ),
        ("budget: 0.2", "budget: 0", "ferries.yaml:9: budget: is 0; it is a share of wrong answers"),
        ("dataset: data", "dataset: date", "ferries.yaml:4: dataset: "),
        ("dev: dev", "dev: devel", "ferries.yaml:10: split: by_split: no request of split 'devel'; did you mean"),
        ("split:", "traffic: {Recorded: {between: [1000, 2000]}}\nsplit:", "ferries.yaml:10: traffic: Recorded: no"),
        ("split: {BySplit: {dev: dev, test: test}}", "split: ByTim", "did you mean 'ByTime'"),
        (
            "cache: {embedder: {SentenceTransformer: {model: ",
            "cache: {embedder: {SentenceTransformer: {modl: ",
            "'modl'",
        ),
        ("thresholds: [1.0]", "thresholds: [1.0]\nthresholds: []", "thresholds: is given twice"),
        ("cost: {search: 0.3}", "calls: 1\ncost: {search: 0.3}", "cost: is for a replay of the calls"),
    ],
)
def test_a_wrong_certification_is_told_with_its_line_and_leaves_nothing(project, call, old, new, what):
    change(project, old, new)
    code, out, err = call("certify", "ferries.yaml")
    assert (code, out) == (2, "")
    assert what in err
    assert written(project) == []


def test_faults_of_spec_and_data_come_together(project, call):
    change(project, "budget: 0.2", "budget: 2")
    (project / "data" / "traffic.jsonl").write_text('{"at": "noon", "text": "is it"}\n')
    code, _, err = call("certify", "ferries.yaml")
    assert code == 2
    assert "ferries.yaml:9: budget: is 2" in err
    assert "traffic.jsonl:1" in err


def test_a_folder_of_somebodys_is_refused_before_anything_is_certified(project, call):
    (project / "mine").mkdir()
    (project / "mine" / "letter.txt").write_text("dear")
    code, out, err = call("certify", "ferries.yaml", "--out", "mine")
    assert (code, out) == (2, "")
    assert "holds other things than a certification's results (letter.txt)" in err
    assert not (project / ".evalkit").exists()


def test_missing_data_of_a_certification_can_be_skipped(project, call):
    change(project, "dataset: data", "dataset: gone\nwithout_data: skip")
    code, out, err = call("certify", "ferries.yaml")
    assert (code, err) == (0, "")
    assert "skipped" in out
    assert written(project) == []


@pytest.mark.slow  # MLflow makes its database anew
def test_from_a_shell_a_lost_certificate_is_exit_code_1_and_is_tracked(project):
    change(project, "thresholds: [1.0]", "thresholds: [0.0]")
    done = subprocess.run(
        [sys.executable, "-m", "evalkit.cli", "certify", "ferries.yaml"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("NOT CERTIFIED")
    assert "MLflow " in done.stdout
    assert (project / ".evalkit" / "mlflow" / "mlflow.db").is_file()
