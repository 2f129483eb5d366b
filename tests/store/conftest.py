"""A small store with a bit of everything, and a way to run code where a disk is full or cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from other_processes import environment

from evalkit.columns import Strings
from evalkit.store import DiskStore
from evalkit.values import Queries, Vectors


def queries(*texts):
    return Queries(Strings.of(f"q{i}" for i in range(len(texts))), Strings.of(texts))


def fill(store, numbers=range(4)):
    """Put a result under each number's action, of a kilobyte each, beside one input and two rows; return contents."""
    contents = [
        store.put(f"{i:032x}", Vectors(np.full((16, 16), i, np.float32)), "measured", {"op": "Toy", "seconds": 0.5})
        for i in numbers
    ]
    store.add(queries("What is the fare?"))
    store.record_all({f"call {i}": {"text": f"answer {i}"} for i in numbers})
    return contents


@pytest.fixture
def full(store) -> DiskStore:
    """A store with four results, an input and four rows."""
    fill(store)
    return store


@pytest.fixture
def on_small_disk(tmp_path):
    """A function that runs code in a process whose ``disk`` is a file system of its own, in memory.

    The code may call ``mount("remount,size=64k")`` or ``mount("remount,ro")``. The mount belongs to a namespace that
    ends with the process.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    probe = [*alone, "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    try:
        allowed = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        allowed = False
    prelude = f"""
import subprocess
from pathlib import Path
disk, other = Path({str(disk)!r}), Path({str(tmp_path / "other")!r})
def mount(options):
    subprocess.run(["mount", "-o", options, str(disk)], check=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
"""

    def run(code: str) -> str:
        if not allowed:
            pytest.skip("this machine lets nobody mount a file system in a namespace of its own")
        command = [*alone, sys.executable, "-c", prelude + textwrap.dedent(code)]
        done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
