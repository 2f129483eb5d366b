"""Saving results: a saver that is killed leaves nothing that the next one does not clear, and loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from evalkit.evaluate.results import RESULTS

MANIFEST = json.dumps({"spec": {}, "systems": {}, "base": ""})
KILLED = """
import os, signal, sys
from pathlib import Path
from evalkit.evaluate.results import RESULTS
from evalkit.store import folders
target, place = Path(sys.argv[1]), sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def write(folder):
    (folder / "manifest.json").write_text('half')
    if place == "writing":
        die()
if place != "writing":
    real, count = os.replace, iter(range(9))
    folders.os.replace = lambda *names: die() if next(count) == int(place) else real(*names)
RESULTS.replace(target, write)
"""


def save(target, text):
    def write(folder):
        (folder / "manifest.json").write_text(MANIFEST)
        (folder / "summary.csv").write_text(text)

    RESULTS.replace(target, write)


@pytest.mark.parametrize(
    "place", ["writing", "0", "1"], ids=["while writing", "before any move", "between the moves"]
)
def test_what_a_killed_saver_leaves_is_cleared_by_the_next_and_the_old_results_are_not_lost(tmp_path, place):
    target = tmp_path / "results"
    save(target, "first")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target), place], check=False)
    assert killed.returncode == -9
    kept = [path.read_text() for path in tmp_path.rglob("summary.csv")]
    assert kept == ["first"]
    save(target, "second")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert (target / "summary.csv").read_text() == "second"


def test_a_folder_that_another_saver_is_writing_is_left_alone(tmp_path):
    target = tmp_path / "results"

    def write(folder):
        save(target, "quicker")
        (folder / "manifest.json").write_text(MANIFEST)
        (folder / "summary.csv").write_text("slower")

    RESULTS.replace(target, write)
    assert (target / "summary.csv").read_text() == "slower"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
