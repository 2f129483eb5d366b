from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from same_replay import digest, record

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    record(folder)
    return folder


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_a_replay_of_recordings_is_the_same_in_every_process_under_every_hash_seed(recorded, kind):
    here = digest(recorded, kind)
    assert digest(recorded, kind) == here
    places = os.pathsep.join([str(HERE), str(HERE.parent)])
    elsewhere = [
        subprocess.run(
            [sys.executable, str(HERE / "same_replay.py"), str(recorded), kind],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": places},
            capture_output=True, text=True, check=True, timeout=300,
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    ]  # fmt: skip
    assert elsewhere == [here] * 3


def test_other_traffic_has_another_digest(recorded):
    assert digest(recorded, "closed") != digest(recorded, "open")
