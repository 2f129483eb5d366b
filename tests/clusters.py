"""Dask clusters as a user starts them, on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def cluster(workers: int, folder: Path):
    """A scheduler and its workers, as a user starts them, on ports of their own."""
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    started = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
        started.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL))
        return started[-1]

    place = folder / "scheduler.json"
    try:
        loopback = ("--host", "127.0.0.1", "--no-dashboard")
        start("dask_scheduler", *loopback, "--port", "0", "--scheduler-file", str(place))
        _wait(place.exists)
        address = json.loads(place.read_text())["address"]
        for _ in range(workers):
            start("dask_worker", address, *loopback, "--nthreads", "1", "--local-directory", str(folder))
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(there, seconds=60):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "the cluster did not start"
        time.sleep(0.1)
