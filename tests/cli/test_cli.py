from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from evalkit import Results, cli
from evalkit.paths import project_root, results_dir, store_dir, tracking_dir

DATA = {
    "documents.jsonl": [
        '{"id": "d1", "text": "Red apples grow on trees. They are sweet."}',
        '{"id": "d2", "text": "Green pears fall in autumn."}',
        '{"id": "d3", "text": "Blue plums grow slowly. Nobody hurries them."}',
    ],
    "queries.jsonl": [
        '{"id": "q1", "text": "What do apples grow on?", "split": "dev"}',
        '{"id": "q2", "text": "When do pears fall?", "split": "test"}',
    ],
    "qrels.tsv": ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q2\td2\t2"],
    "answers.jsonl": ['{"query": "q1", "text": "on trees"}', '{"query": "q2", "text": "in autumn"}'],
}
TEMPLATE = """
name: fruit
dataset: {data}
sweep:
  base: {{chunk: Whole, retrieve: {{BM25: {{k: 2}}}}}}
  grid:
    retrieve.k: [1, 2, 3]
metrics: [MRR@10, nDCG@10, {more}]
"""


def spec(more: str = "Hit@1", data: str = "data") -> str:
    return TEMPLATE.format(data=data, more=more)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of a user's own: a data set, an experiment, and nothing else."""
    for variable in ("EVALKIT_ROOT", "EVALKIT_STORE", "EVALKIT_RESULTS", "EVALKIT_MLFLOW"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "evalkit.toml").write_text("")
    for name, lines in DATA.items():
        (folder / "data" / name).write_text("\n".join(lines) + "\n")
    (folder / "fruit.yaml").write_text(spec("Recall@1"))
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_check_says_what_it_found_runs_nothing_and_writes_nothing(project, call):
    before = files(project)
    code, out, err = call("check", "fruit.yaml")
    assert (code, err) == (0, "")
    assert out == (
        "fruit.yaml: 3 variants on Dataset data: 3 documents, 2 queries, 2 judgements, 2 reference answers\n"
    )
    assert files(project) == before
    assert sorted(p.name for p in project.iterdir()) == ["data", "evalkit.toml", "fruit.yaml"]


def test_plan_says_what_is_shared_and_what_is_stored(project, call):
    code, out, err = call("plan", "fruit.yaml")
    assert (code, err) == (0, "")
    table = [line.split() for line in out.splitlines()]
    assert table[0] == ["stage", "nodes", "in", "the", "store", "to", "run", "expected", "what"]
    assert ["search", "1", "0", "1", "0.0", "s", "+", "BM25Search"] in table
    assert ["cut", "2", "0", "2", "0.0", "s", "+", "Cut"] in table
    assert ["all", "5", "0", "5", "0.0", "s", "+"] in table
    assert "3 variants; one by one they would need 9 nodes, shared 5." in out
    assert "+: nothing is known yet of BM25Build, BM25Search, Cut, Whole." in out
    assert not results_dir().exists()
    assert call("run", "fruit.yaml", "--no-track")[0] == 0
    assert ["all", "5", "5", "0", "0.0", "s"] in [line.split() for line in call("plan", "fruit.yaml")[1].splitlines()]


def test_plan_expects_what_its_ops_took_before_and_draws_itself(project, call):
    assert call("run", "fruit.yaml", "--no-track")[0] == 0
    (project / "more.yaml").write_text(spec("Recall@1").replace("[1, 2, 3]", "[1, 2, 3]\n    retrieve.b: [0.1, 0.9]"))
    code, out, err = call("plan", "more.yaml", "--graph", "plan.svg")
    assert (code, err) == (0, "")
    assert "nothing is known yet" not in out
    drawn = ElementTree.parse(project / "plan.svg")  # noqa: S314 - our own
    titles = [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(title.startswith("BM25Search") for title in titles) == 3
    assert call("plan", "more.yaml", "--graph", "nowhere/plan.svg")[0] == 2


def test_a_second_run_gives_the_same_figures_from_the_store(project, call):
    code, out, err = call("run", "fruit.yaml", "--no-track")
    assert (code, err) == (0, "")
    folder = project / "results" / "fruit"
    first, summary = (folder / "summary.csv").read_bytes(), pd.read_csv(folder / "summary.csv")
    assert "0 of 5 pieces of work from the store" in out
    assert set(summary["variant"]) == {"retrieve.k=1", "retrieve.k=2", "retrieve.k=3"}
    code, out, err = call("run", "fruit.yaml", "--no-track")
    assert (code, err) == (0, "")
    assert "5 of 5 pieces of work from the store" in out
    assert (folder / "summary.csv").read_bytes() == first
    assert "retrieve.k=2 *" in out
    assert "against retrieve.k=2" in out
    assert f"results  {Path('results/fruit')}" in out


def test_a_run_writes_to_its_own_places_and_nowhere_else(project, call):
    before = files(project)
    assert call("run", "fruit.yaml")[0] == 0
    made = {Path(name).parts[:2] for name in set(files(project)) - set(before)}
    assert made == {("results", "fruit"), (".evalkit", "store"), (".evalkit", "mlflow")}
    assert {name: data for name, data in files(project).items() if name in before} == before
    assert (store_dir(), tracking_dir()) == (project / ".evalkit" / "store", project / ".evalkit" / "mlflow")


def test_retime_takes_latencies_anew_and_leaves_the_quality(project, call):
    (project / "fruit.yaml").write_text(spec("P50") + "timing: {queries: 2, warmup: 0}\n")
    runs = []
    for options in ((), (), ("--retime",)):
        assert call("run", "fruit.yaml", "--no-track", *options)[0] == 0
        runs.append(Results.load(project / "results" / "fruit").summary)
    assert runs[0].equals(runs[1])
    quality = [run[run["unit"] != "ms"].reset_index(drop=True) for run in runs]
    assert quality[0].equals(quality[2])
    assert not runs[0].equals(runs[2])


def test_report_writes_a_page_from_results_on_disk(project, call):
    assert call("run", "fruit.yaml", "--no-track", "--out", "out")[0] == 0
    (project / "out" / "report.html").unlink()
    code, out, err = call("report", "out")
    assert (code, err) == (0, "")
    assert (project / out.strip()).is_file()
    assert "retrieve.k=3" in (project / out.strip()).read_text()


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_missing_data_that_may_be_missing_is_said_and_is_no_failure(project, call, command):
    (project / "fruit.yaml").write_text(spec(data="elsewhere") + "without_data: skip\n")
    before = files(project)
    assert call(command, "fruit.yaml") == (0, "fruit: skipped, its data set is not here (elsewhere)\n", "")
    assert files(project) == before


@pytest.mark.parametrize("command", ["check", "plan", "run"])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (spec(data="elsewhere"), ["fruit.yaml:3: dataset: data set elsewhere: no such folder"]),
        (spec("Hitt@1"), ["fruit.yaml:8: metrics: unknown metric 'Hitt', did you mean 'Hit'?"]),
        (spec("P95"), ["fruit.yaml:8: metrics: metric P95 needs latencies; give timing too, or leave it out"]),
        (spec() + "split: tset\n", ["fruit.yaml:3: dataset: data set data: no split 'tset'; did you mean 'test'?"]),
        ("", ["fruit.yaml: is empty"]),
        (
            spec(data="elsewhere").replace("name: fruit", "name: a b") + "seed: -1\nsed: 1\n",
            ["fruit.yaml:10: sed", "fruit.yaml:2: name", "fruit.yaml:9: seed", "fruit.yaml:3: dataset"],
        ),
        (
            spec().replace("[1, 2, 3]", "[0, x]") + "sed: 1\n",
            ["fruit.yaml:7: sweep.grid.retrieve.k: a w", "fruit.yaml:7: sweep.grid.retrieve.k: BM25", "fruit.yaml:9"],
        ),
    ],
    ids=["no data", "metric", "timing", "split", "empty", "unlike", "several"],
)  # fmt: skip
def test_wrong_input_is_a_line_a_fault_and_nothing_is_written(project, call, command, text, lines):
    (project / "fruit.yaml").write_text(text)
    before = files(project)
    code, out, err = call(command, "fruit.yaml")
    assert (code, out) == (2, "")
    said = err.splitlines()
    assert len(said) == len(lines)
    for line, expected in zip(said, lines, strict=True):
        assert line.startswith(f"evalkit: {expected}")
    assert files(project) == before


def test_every_fault_of_a_data_set_is_told_at_once(project, call):
    (project / "data" / "queries.jsonl").write_bytes(b'{"id": "q1", "text": "a"}\n{"id": "q1"\n\xff\n')
    code, _, err = call("check", "fruit.yaml")
    assert code == 2
    assert [line.split("/")[-1].split(":")[0:2] for line in err.splitlines()[:2]] == [
        ["queries.jsonl", "2"],
        ["queries.jsonl", "3"],
    ]


@pytest.mark.parametrize("place", ["file", "file/below", "full", "/proc/evalkit"])
def test_a_folder_that_cannot_hold_results_is_refused_before_any_work(project, call, place):
    (project / "file").write_text("mine")
    (project / "full").mkdir()
    (project / "full" / "thesis.tex").write_text("mine")
    before = files(project)
    code, out, err = call("run", "fruit.yaml", "--out", place)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"evalkit: {place}: ")
    assert files(project) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(project, call):
    (project / "locked").mkdir(mode=0o500)
    code, _, err = call("run", "fruit.yaml", "--out", "locked/out")
    assert (code, len(err.splitlines())) == (2, 1)


def test_reports_of_what_is_no_results_are_refused(project, call):
    for place in ("data", "none"):
        code, out, err = call("report", place)
        assert (code, out) == (2, "")
        assert err.startswith(f"evalkit: {place}: no results here")
    (project / "half").mkdir()
    for name in ("summary.csv", "summary.parquet", "per_query.parquet", "manifest.json"):
        (project / "half" / name).write_text("{")
    code, _, err = call("report", "half")
    assert (code, len(err.splitlines())) == (2, 1)


def test_a_stage_that_fails_is_one_line_and_exit_1(project, call, monkeypatch):
    from evalkit.stages.retrieve.bm25 import BM25Search

    def fails(self, index, queries):
        raise MemoryError("no memory left")

    monkeypatch.setattr(BM25Search, "__call__", fails)
    code, out, err = call("run", "fruit.yaml", "--no-track")
    assert (code, out) == (1, "")
    assert err == "evalkit: search (BM25Search): MemoryError: no memory left\n"
    assert not (project / "results" / "fruit").exists()


def test_what_nobody_foresaw_is_one_line_and_exit_1(project, call, monkeypatch):
    monkeypatch.setattr(sys.modules["evalkit.evaluate.run"], "check", lambda *given: 1 / 0)
    code, _, err = call("check", "fruit.yaml")
    assert code == 1
    assert err == "evalkit: ZeroDivisionError: division by zero (EVALKIT_DEBUG=1 shows where)\n"
    monkeypatch.setenv("EVALKIT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["check", "fruit.yaml"])


def test_an_interrupted_run_says_how_to_go_on(project, call, monkeypatch):
    def stops(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["evalkit.evaluate.run"], "check", stops)
    assert call("check", "fruit.yaml") == (
        130, "", "evalkit: interrupted; what was done is in the store, run again to go on\n",
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["rum"], ["run"], ["run", "a.yaml", "--outt", "x"]])
def test_a_wrong_command_is_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: evalkit" in capsys.readouterr().err


def test_a_spec_is_found_from_the_projects_root_too(project, call, monkeypatch):
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert project_root() == project
    assert call("check", "fruit.yaml")[0] == 0


def shell(*arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "default", "-m", "evalkit.cli", *arguments]
    places = {"PYTHONPATH": str(Path(__file__).parents[1]), **changes}
    return subprocess.run(command, cwd=cwd, env={**os.environ, **places}, capture_output=True, text=True, check=False)


def test_a_whole_run_with_the_real_model_is_quiet_on_stderr(project):
    text = "name: real\ndataset: data\nsweep: {base: {retrieve: {Dense: {k: 2}}}}\nmetrics: [MRR@10, TokenF1]\n"
    (project / "real.yaml").write_text(text + "timing: {queries: 1, warmup: 0}\n")
    done = shell("run", "real.yaml", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[-3:]] == ["results", "report", "MLflow"]
    assert (project / "results" / "real" / "report.html").is_file()


def test_the_process_exits_with_the_commands_code(project):
    assert shell("--version", cwd=project).stdout.startswith("evalkit ")
    done = shell("check", "none.yaml", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "evalkit: none.yaml: cannot be read (No such file or directory)\n"


def test_a_reader_that_stops_reading_stops_no_run(project):
    command = f"{sys.executable} -m evalkit.cli run fruit.yaml --no-track | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    assert (project / "results" / "fruit" / "report.html").is_file()
