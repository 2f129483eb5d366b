from __future__ import annotations

import subprocess
import sys

import pytest

from evalkit.stages.derived import derived


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_a_model_is_made_once_for_a_recipe():
    made = []

    def make(place):
        made.append(place)
        (place / "weights").write_text("1")

    first, again, other = derived(["a", 1], make), derived(["a", 1], make), derived(["a", 2], make)
    assert first == again != other
    assert len(made) == 2
    assert (first / "weights").read_text() == "1"


def test_what_fails_leaves_nothing_behind(folder):
    def fail(place):
        (place / "half").write_text("?")
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        derived("x", fail)
    assert list(folder.iterdir()) == []


def test_a_process_killed_while_making_leaves_nothing_that_looks_made(folder):
    code = (
        "import os, signal; from evalkit.stages.derived import derived\n"
        "def make(place):\n    (place / 'half').write_text('?'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "derived('x', make)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    place = derived("x", lambda place: (place / "whole").write_text("1"))
    assert [file.name for file in place.iterdir()] == ["whole"]


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path / "file"))
    with pytest.raises(Exception, match=r"cannot be written .* set EVALKIT_MODELS"):
        derived("x", lambda place: None)
