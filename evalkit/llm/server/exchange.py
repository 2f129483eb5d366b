"""One request and its response: read, written in parts, waited on, or cut off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from evalkit.llm.server.refusals import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MOST_BYTES = 32 * 2**20
"""Of a request (Anthropic, "Errors", request_too_large); a batch may have eight times as much."""


class ClientLeft(Exception):
    """The client closed the connection before its request was whole."""


class Exchange:
    """An ASGI request and its response.

    Parameters
    ----------
    scope, receive, send
        As ASGI gives them. To break a connection, ``scope["state"]["transport"]`` must be there.
    request_id : str
        Sent in a header of every response.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.scope, self._receive, self._send, self.request_id = scope, receive, send, request_id
        self.arrived = asyncio.get_running_loop().time()
        self._leaving: asyncio.Future[None] | None = None
        self.begun = False

    def header(self, name: str) -> str:
        """Return a header of the request, empty if it has none."""
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted), "")

    async def read(self, most: int = _MOST_BYTES) -> bytes:
        """Read the whole body.

        Raises
        ------
        Refused
            413, if it is longer.
        ClientLeft
        """
        parts, length, more = [], 0, True
        while more:
            part = await self._receive()
            if part["type"] == "http.disconnect":
                raise ClientLeft
            parts.append(part.get("body", b""))
            length, more = length + len(parts[-1]), part.get("more_body", False)
            if length > most:
                raise Refused(413, "Request exceeds the maximum size", {"connection": "close"})
        return b"".join(parts)

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": self._headers(headers)})

    async def write(self, body: bytes, more: bool = True) -> None:
        """Send a part of the body; the last one ends the response."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send JSON."""
        body = json.dumps(data).encode()
        stated = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        await self.begin(status, stated)
        await self.write(body, more=False)

    async def refuse(self, refused: Refused, headers: Mapping[str, str] | None = None) -> None:
        """Send an error."""
        await self.answer(refused.status, refused.body(self.request_id), {**(headers or {}), **refused.headers})

    async def wait_until(self, moment: float) -> bool:
        """Wait for a moment of the loop's time; returns whether the client is still there."""
        loop = asyncio.get_running_loop()
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._left())
        await asyncio.wait((self._leaving,), timeout=max(0.0, moment - loop.time()))
        return not self._leaving.done()

    async def cut(self, last: bytes = b"") -> None:
        """Close the connection behind what was sent, and behind `last`, which goes out as it is."""
        transport = self.scope["state"]["transport"]
        if last:
            transport.write(last)
        transport.close()
        await (self._leaving or self._left())

    async def cut_as_stated(self, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole response, whatever length its headers state, and close the connection.

        That is announced, as a client that takes a short length for the end would else send its next request here.
        """
        lines = [f"HTTP/1.1 200 {HTTPStatus.OK.phrase}".encode()]
        lines += [name + b": " + value for name, value in self._headers({**headers, "connection": "close"})]
        await self.cut(b"\r\n".join([*lines, b"", body]))

    async def close(self) -> None:
        """Forget the client."""
        if self._leaving is not None and not self._leaving.done():
            self._leaving.cancel()
            await asyncio.wait((self._leaving,))

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _headers(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        stated = {"request-id": self.request_id, **headers}
        return [(name.encode(), value.encode()) for name, value in stated.items()]
