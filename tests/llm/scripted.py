"""A server on loopback that sends, byte by byte, what a test tells it to: an independent check of clients."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import NamedTuple

CUT, RESET, HANG = "cut", "reset", "hang"
"""End the connection; break it; say nothing more until the client hangs up."""

USAGE = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 12,
    "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 7},
    "cache_read_input_tokens": 3,
    "output_tokens": 1,
    "service_tier": "standard",
}


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: dict


class Scripted:
    """Plays one script a request: bytes to send, and what to do with the connection. Without any left, `always`."""

    def __init__(self):
        self.scripts, self.requests, self.connections, self.hung_up = [], [], 0, threading.Event()
        self.always = whole()
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._in_loop(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _in_loop(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def close(self):
        async def end():
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

        self._in_loop(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except ConnectionError:
            self.hung_up.set()  # in the middle of what was sent
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up between requests, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, path, headers, json.loads(raw) if raw else {})
        self.requests.append(request)
        script = self.scripts.pop(0) if self.scripts else self.always
        for step in script(request) if callable(script) else script:
            if step == CUT:
                return False
            if step == RESET:
                writer.transport.abort()
                return False
            if step == HANG:
                await reader.read(1)
                self.hung_up.set()
                return False
            writer.write(step)
            await writer.drain()
        return True


def event(kind, **data):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def start(usage=None):
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    return event("message_start", message={**message, "stop_sequence": None, "usage": usage or USAGE})


def opened(index=0, kind="text"):
    return event("content_block_start", index=index, content_block={"type": kind, kind: ""})


def delta(text, index=0, kind="text"):
    return event("content_block_delta", index=index, delta={"type": f"{kind}_delta", kind: text})


def ended(output=9, reason="end_turn", **usage):
    kept = {"output_tokens": output, **usage}
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=kept)


PING, CLOSED, STOP = event("ping"), event("content_block_stop", index=0), event("message_stop")


def events(*texts, output=9, reason="end_turn", usage=None):
    return [start(usage), opened(), PING, *map(delta, texts), CLOSED, ended(output, reason), STOP]


def head(status=200, kind="text/event-stream", **headers):
    lines = {"content-type": kind, "request-id": "req_1", **headers}
    return f"HTTP/1.1 {status} X\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode() + b"\r\n"


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


LAST = b"0\r\n\r\n"


def streaming(*data, then=LAST, **headers):
    """A chunked stream, and how it ends: LAST for well."""
    return [head(**{"transfer-encoding": "chunked", **headers}), *map(chunk, data), then]


def whole(*texts, **more):
    """An answer as it should be."""
    return streaming(*events(*(texts or ("By ", "ferry [1].")), **more))


def plain(status, value, length=None, **headers):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    size = len(data) if length is None else length
    return [head(status, headers.pop("kind", "application/json"), **{"content-length": size, **headers}), data]


def refusal(status, kind="api_error", message="said the server", details=None, **headers):
    """An error as the API sends it; a header's name is written with _ for -."""
    error = {"type": kind, "message": message, **({"details": details} if details else {})}
    body = {"type": "error", "error": error, "request_id": "req_1"}
    return plain(status, body, **{name.replace("_", "-"): value for name, value in headers.items()})


def overload(kind="overloaded_error", message="Overloaded"):
    return event("error", error={"type": kind, "message": message})
