"""A replay comes back from disk as it was, or not at all."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes_made import MODEL, RefusesEvery, hit, outcome
from toys import dense

from evalkit import InputError, Service, replay
from evalkit.calls import Attempt, Call, TokenUsage
from evalkit.llm import Extractive, Modelled
from evalkit.serving import Arrival, Cache, Replay
from evalkit.serving.results import saving

TABLES = ("requests.parquet", "events.parquet", "calls.parquet", "answers.parquet")


@pytest.fixture
def seen(tiny, shared_store) -> Replay:
    variant = dense(generate=Modelled(Extractive(dense().retrieve.embedder), "roadmap", model=MODEL))
    texts = [*tiny.queries.text] * 3
    asked = [
        Arrival(text, i / 2, f"u{i % 3}", "t", f"c{i % 2}", text, "é\nx", "canonical", 30.0 if i % 2 else None)
        for i, text in enumerate(texts)
    ]
    found = replay(Service(variant, (RefusesEvery(7), Cache())), tiny, asked, cost={"embed": 0.1}, store=shared_store)
    return changed(found, warm=[outcome(-1, intent="warm")], failures={"a write": 2})


def test_all_tables_come_back_equal(seen, tmp_path):
    folder = seen.save(tmp_path / "out", {"spec": "é"})
    again = Replay.load(folder)
    assert again.digest == seen.digest
    assert (again.origin, again.start, again.failures) == (seen.origin, seen.start, seen.failures)
    assert len(again.warm) == 1
    for name in ("per_request", "events", "summary", "caching"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(seen, name))
    assert [o.arrival for o in again.outcomes] == [o.arrival for o in seen.outcomes]
    assert [o.calls for o in again.outcomes] == [o.calls for o in seen.outcomes]
    assert len({o.outcome for o in again.outcomes}) == 2


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TIME = st.floats(0, 1e6)
CALLS = st.builds(
    Call,
    st.just(MODEL) | TEXT,
    st.builds(TokenUsage, *[st.integers(0, 2**40)] * 5),
    st.lists(st.floats(0, 5), max_size=4).map(lambda pieces: tuple(sorted(pieces))),
    st.integers(0, 3),
    st.floats(5, 9),
    day=st.sampled_from(["", "2026-01-02"]),
    service=st.sampled_from(["standard", "batch"]),
    complete=st.booleans(),
    attempts=st.lists(st.builds(Attempt, TEXT, st.floats(0, 5)), max_size=2).map(tuple),
)
OUTCOMES = st.builds(
    outcome,
    st.integers(-5, 2**40),
    arrived=TIME,
    took=TIME,
    became=st.sampled_from(["answered", "failed"]),
    text=TEXT,
    notes=st.dictionaries(TEXT, TEXT | st.floats(), max_size=3),
    events=st.lists(st.tuples(TEXT, st.sampled_from(["layer", "work"]), TIME, TIME, TIME), max_size=3),
    calls=st.lists(CALLS, max_size=2),
    asked=TEXT,
    tenant=TEXT,
    patience=st.none() | st.floats(1, 9),
)


@given(st.lists(OUTCOMES, max_size=4), st.lists(OUTCOMES, max_size=2), st.floats(0, 9))
@settings(max_examples=40)
def test_any_outcome_comes_back(tmp_path_factory, outcomes, warm, start):
    found = Replay(outcomes, "measured", start, {"é": 1}, warm)
    folder = tmp_path_factory.mktemp("any")
    saving.write_tables(found, folder)
    (folder / "manifest.json").write_text(json.dumps(saving.manifest(found)), encoding="utf-8")
    again = Replay.load(folder)
    assert again.digest == found.digest
    for mine, theirs in zip([*outcomes, *warm], [*again.outcomes, *again.warm], strict=True):
        assert repr(mine.arrival) == repr(theirs.arrival)
        assert (mine.calls, mine.events) == (theirs.calls, theirs.events)
        assert set(mine.notes) == set(theirs.notes)


def test_other_programs_can_read_it(seen, tmp_path):
    folder = seen.save(tmp_path / "out", {"spec": "name"})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["origin"], manifest["digest"], manifest["requests"]) == ("modelled", seen.digest, 24)
    assert manifest["note"] == {"spec": "name"}
    rows = pd.read_csv(folder / "per_request.csv", keep_default_na=False)
    assert rows["text"].tolist() == seen.per_request["text"].tolist()
    np.testing.assert_array_equal(rows["ms"].astype(float), seen.per_request["ms"])
    assert pd.read_csv(folder / "summary.csv")["metric"].tolist() == seen.summary["metric"].tolist()
    events = pd.read_parquet(folder / "events.parquet")
    assert events["name"].tolist() == ["", *seen.events["name"]][1:]
    assert set(events["request"]) == set(seen.events["request"])


def test_a_second_replay_takes_the_firsts_place_and_nothing_else_is_left(seen, tmp_path):
    folder = seen.save(tmp_path / "out")
    other = Replay(seen.outcomes[:3], "modelled")
    assert other.save(tmp_path / "out") == folder
    assert Replay.load(folder).digest == other.digest
    assert os.listdir(tmp_path) == ["out"]


def test_somebody_elses_folder_is_not_touched(seen, tmp_path):
    for name in ("notes.txt", "manifest.json"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("{}")
        with pytest.raises(InputError, match="holds other things than a replay"):
            seen.save(folder)
        assert os.listdir(folder) == [name]
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        seen.save(tmp_path / "file")
    mine = seen.save(tmp_path / "out")
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        seen.save(mine)


def test_a_writer_that_fails_leaves_the_earlier_replay_as_it_was(seen, tmp_path, monkeypatch):
    folder = seen.save(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TypeError):
        seen.save(folder, {"not": object()})
    real = os.replace

    def fails_to_put(source, target):
        if Path(target) == folder and not str(source).endswith(".old"):
            raise OSError(5, "the disk is gone")
        real(source, target)

    monkeypatch.setattr(os, "replace", fails_to_put)
    with pytest.raises(OSError, match="the disk is gone"):
        seen.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from evalkit.serving import Replay
from evalkit.serving.results.saving import save

found, real = Replay.load(sys.argv[1]), os.replace

def replace(source, target):
    if sys.argv[2] == "before" or str(target) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)

os.replace = replace
save(found, sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_saver_that_is_killed_loses_no_earlier_replay(seen, tmp_path, moment):
    folder = seen.save(tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert folder.exists() == (moment == "before")
    assert len(os.listdir(tmp_path)) > 1 or moment == "between"
    with pytest.raises(TypeError):  # the next saver puts it back, even one that fails
        seen.save(folder, {"not": object()})
    assert Replay.load(folder).digest == seen.digest
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", [*TABLES, "manifest.json"])
def test_what_is_missing_or_damaged_is_refused_in_one_line(seen, tmp_path, name):
    folder = seen.save(tmp_path / "out")
    whole = (folder / name).read_bytes()
    for broken in (b"", whole[: len(whole) // 2], pickle.dumps({"evalkit replay": 1})):
        (folder / name).write_bytes(broken)
        with pytest.raises(InputError, match=r"no replay here|cannot be read|damaged") as caught:
            Replay.load(folder)
        assert "\n" not in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(InputError, match=r"no replay here|cannot be read"):
        Replay.load(folder)


def test_a_changed_number_is_found(seen, tmp_path):
    folder = seen.save(tmp_path / "out")
    rows = pd.read_parquet(folder / "requests.parquet")
    rows.loc[3, "ended"] += 1e-9
    rows.to_parquet(folder / "requests.parquet", index=False)
    with pytest.raises(InputError, match="damaged"):
        Replay.load(folder)


def test_a_replay_of_another_format_is_refused(seen, tmp_path):
    folder = seen.save(tmp_path / "out")
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    (folder / "manifest.json").write_text(text.replace('"evalkit replay": 1', '"evalkit replay": 99'))
    with pytest.raises(InputError, match="a replay of format 99, not 1; run it again"):
        Replay.load(folder)


def test_an_answer_that_many_were_given_is_written_once(tmp_path):
    made = outcome(0, text="long " * 50)
    found = Replay([made, *(hit(i, 0)._replace(answers=made.answers) for i in range(1, 9))], "measured")
    folder = found.save(tmp_path / "out")
    assert len(pd.read_parquet(folder / "answers.parquet")) == 1
    assert set(Replay.load(folder).per_request["answer"]) == {"long " * 50}
