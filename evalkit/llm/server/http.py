"""uvicorn on loopback: quiet, quick to stop, and with connections that can be cut. Imported only to serve."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from evalkit.llm.server.app import MessagesAPI

_GRACE = 1
"""Seconds that running responses are given when the server stops."""
_KEEP_ALIVE = 75
"""Seconds: longer than clients keep a connection, so that none is closed under a new request."""


class _Protocol(H11Protocol):
    """Lets the application see its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class LoopbackServer(Server):
    """Serves on a socket that is bound already.

    Parameters
    ----------
    app : MessagesAPI
    ready : callable
        Called once requests are taken in.
    """

    def __init__(self, app: MessagesAPI, ready: Callable[[], None]) -> None:
        # no log of ours or uvicorn's ever holds a header
        config = Config(
            app, http=_Protocol, ws="none", lifespan="off", loop="asyncio", log_config=None, log_level="critical",
            access_log=False, server_header=False, timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=_GRACE,
        )  # fmt: skip
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests in, and say so."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give running responses a moment, then close what is left."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at Ctrl-C and SIGTERM, as a service that has done what it was to do."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[signal.Signals, Any] = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
