"""Starting and stopping the server: in the foreground, in a thread, or in a process of its own."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any
from urllib.request import ProxyHandler, build_opener

from evalkit.errors import EvalkitError, InputError
from evalkit.llm.server.app import FakeClaude, MessagesAPI

_HOST = "127.0.0.1"
_LOOPBACK = (_HOST, "localhost")
_STARTING = 120.0
"""Seconds that a process may take to load its models."""
_STOPPING = 10.0


@dataclass(frozen=True)
class Running:
    """A server that takes requests.

    Parameters
    ----------
    url : str
        For a client's ``base_url``.
    """

    url: str

    def ledger(self, rows: bool = True) -> dict[str, Any]:
        """Return what was served so far (`Ledger.plain`)."""
        opener = build_opener(ProxyHandler({}))  # loopback is never asked for by way of a proxy
        with opener.open(f"{self.url}/ledger{'' if rows else '?rows=0'}", timeout=60) as response:
            return json.loads(response.read())  # type: ignore[no-any-return]


def bound(port: int = 0, host: str = _HOST) -> socket.socket:
    """Return a socket bound on loopback; port 0: a free one.

    Raises
    ------
    InputError
        If the host is another one, or the port is taken.
    """
    if host not in _LOOPBACK:
        raise InputError(f"host {host}: the fake Claude is for this machine only; leave the host out, or say {_HOST}")
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: a number from 0 (a free one) to 65535 is needed")
    # asyncio turns off Nagle's delay only where the protocol is stated; with it, pieces come 40 ms late
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((_HOST, port))
    except OSError as error:
        found.close()
        reason = (error.strerror or "not to be had").lower()
        raise InputError(f"port {port}: {reason}; name another one, or 0 for a free one") from None
    return found


def url_of(listener: socket.socket) -> str:
    """Return the address of a bound socket."""
    return f"http://{_HOST}:{listener.getsockname()[1]}"


def serve(
    fake: FakeClaude, port: int = 0, host: str = _HOST, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve in the foreground until Ctrl-C or SIGTERM.

    Parameters
    ----------
    fake : FakeClaude
    port : int
        0: a free one.
    host : str
        Loopback; any other is refused.
    ready : callable
        Given the URL once requests are taken in.

    Raises
    ------
    InputError
        If the host is another one, or the port is taken.
    """
    from evalkit.llm.server.http import LoopbackServer

    with bound(port, host) as listener:
        server = LoopbackServer(MessagesAPI(fake), lambda: ready(url_of(listener)))
        asyncio.run(server.serve([listener]))


@contextmanager
def serving(fake: FakeClaude, port: int = 0, host: str = _HOST, process: bool = False) -> Iterator[Running]:
    """Serve in the background as long as the block lasts.

    Parameters
    ----------
    fake : FakeClaude
    port : int
        0: a free one.
    host : str
        Loopback; any other is refused.
    process : bool
        In a process of its own, to which `fake` is pickled, so that client and server do not share one core;
        otherwise in a thread.

    Raises
    ------
    InputError
        If the host is another one, or the port is taken.
    """
    with _in_process(fake, port, host) if process else _in_thread(fake, port, host) as url:
        yield Running(url)


@contextmanager
def _in_thread(fake: FakeClaude, port: int, host: str) -> Iterator[str]:
    from evalkit.llm.server.http import LoopbackServer

    with bound(port, host) as listener:
        begun = threading.Event()
        server = LoopbackServer(MessagesAPI(fake), begun.set)

        def work() -> None:
            try:
                asyncio.run(server.serve([listener]))
            finally:
                begun.set()

        thread = threading.Thread(target=work, name="evalkit-fake-claude", daemon=True)
        url = url_of(listener)
        thread.start()
        begun.wait()
        if not server.started:
            raise EvalkitError("the fake Claude did not start; its thread's error stands above")
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _in_process(fake: FakeClaude, port: int, host: str) -> Iterator[str]:
    bound(port, host).close()  # says what is wrong here, in one line
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(fake, port, theirs), name="evalkit-fake-claude", daemon=True)
    process.start()
    theirs.close()
    try:
        with ours:
            if ours not in wait([ours, process.sentinel], _STARTING):
                raise EvalkitError("the fake Claude did not start; its process's error stands above")
            url = ours.recv()
        yield url
    finally:
        process.terminate()
        process.join(_STOPPING)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _child(fake: FakeClaude, port: int, told: Connection) -> None:
    with told:
        serve(fake, port, ready=told.send)
