"""A real Redis server on a free loopback port, which can go and come back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

WAIT = 20.0
"""Seconds that a server may take to start or end."""


class RedisServer:
    """One server that keeps nothing on disk; whenever it starts it is empty, on the port it had before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers; options as ``redis-server`` takes them."""
        assert self._process is None, "it runs"
        given = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binary(), *given, "--appendonly", "no", *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until = time.monotonic() + WAIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError((self._folder / "log").read_text())
            time.sleep(0.01)

    def stop(self) -> None:
        """Let it end in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections are taken, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """Send one command, and return the start of the reply as it is on the wire."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT) as connection:
            parts = [word.encode() for word in words]
            message = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.sendall(b"*%d\r\n%s" % (len(parts), message))
            return connection.recv(1 << 16)

    def _answers(self) -> bool:
        try:
            return self.ask("PING")[:1] in (b"+", b"-")  # "-": it wants a password first
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(WAIT)
            self._process = None


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Start a server for a test, and end it; a machine without one skips the test, saying why, but CI never does."""
    missing = [
        what
        for what, found in {
            "redis-server (Debian's package redis-server)": _binary(),
            "its Python client (evalkit[services])": find_spec("redis"),
        }.items()
        if not found
    ]
    if missing:
        told = f"not on this machine: {', '.join(missing)}"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            yield server
        finally:
            server.kill()


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binary() -> str:
    return shutil.which("redis-server") or ""
