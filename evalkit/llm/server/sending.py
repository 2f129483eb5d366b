"""Sending a reply, whole or streamed at its own times, with what goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from evalkit.llm.server import events
from evalkit.llm.server.events import Reply
from evalkit.llm.server.exchange import Exchange
from evalkit.llm.server.faults import Fault
from evalkit.llm.server.ledger import Served
from evalkit.llm.server.refusals import Refused

_BROKEN = b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": {"type": "te\n\n'
_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class Sending:
    """The way of one reply to its client.

    Parameters
    ----------
    exchange : Exchange
    reply : Reply
    row : Served
        Of the ledger. It is written before the client can know of it, so that the two agree at any moment.
    headers : {name: value}
    speed : float
        How many times faster than the reply's own times; 0: at once.
    fault : Fault or None
    """

    def __init__(
        self,
        exchange: Exchange,
        reply: Reply,
        row: Served,
        headers: Mapping[str, str],
        speed: float,
        fault: Fault | None,
    ) -> None:
        self.exchange, self.reply, self.row, self.headers = exchange, reply, row, headers
        self.speed, self.fault = speed, fault
        self._late, self._waiting, self._sent = 0.0, b"", 0

    async def whole(self) -> None:
        """Send the message as JSON."""
        kind, row, reply = self._kind, self.row, self.reply
        row.bill(reply.usage, reply.usage.output)
        if self.fault and kind == "slow_first_token":
            self._late = self.fault.seconds
        if not await self._due(reply.seconds):
            return
        body = json.dumps(events.message(reply)).encode()
        headers = {"content-type": "application/json", **self.headers, "content-length": str(len(body))}
        row.status, row.complete, row.stop = 200, True, reply.stop_reason
        if self.fault and kind == "wrong_content_length":
            row.complete = False
            stated = {**headers, "content-length": str(max(0, len(body) + self.fault.excess))}
            await self.exchange.cut_as_stated(stated, body)
        elif kind in ("cut_after_start", "cut_after_pieces"):
            row.complete, row.stop = False, "cut"
            await self.exchange.begin(200, headers)
            await self.exchange.write(body[: len(body) // 2])
            await self.exchange.cut()
        else:
            if kind == "malformed_event":
                row.complete, body = False, body[:-1] + b","
            await self.exchange.begin(200, headers)
            await self.exchange.write(body, more=False)

    async def streamed(self) -> None:
        """Send the message as events."""
        reply, row, kind = self.reply, self.row, self._kind
        if self.fault and kind == "wrong_content_length":
            row.status, row.complete, row.stop = 200, self.fault.excess > 0, reply.stop_reason
            row.bill(reply.usage, reply.usage.output)
            pieces = b"".join(map(events.piece_event, reply.pieces))
            body = events.start_events(reply) + pieces + events.end_events(reply)
            stated = {**_STREAM, **self.headers, "content-length": str(max(0, len(body) + self.fault.excess))}
            await self.exchange.cut_as_stated(stated, body)
            return
        row.bill(reply.usage, reply.output(0))
        if not await self._due(reply.times[0] if reply.times else reply.seconds):
            return
        row.status = 200
        await self.exchange.begin(200, {**_STREAM, **self.headers})
        self._waiting = events.start_events(reply)
        if self.fault and kind == "slow_first_token":
            self._late = self.fault.seconds
            if not await self._due(reply.times[0] if reply.times else 0.0):
                return
        if await self._pieces():
            await self._end()

    async def _pieces(self) -> bool:
        """Send the pieces; returns whether the message comes to its end."""
        broken = self._kind == "malformed_event"
        ends = self._kind in ("cut_after_start", "cut_after_pieces", "overloaded_in_stream")
        before = 0 if self.fault is None or self._kind == "cut_after_start" else self.fault.pieces
        pieces = self.reply.pieces[:before] if ends else self.reply.pieces
        for i, (piece, at) in enumerate(zip(pieces, self.reply.times, strict=False)):
            if (self.speed or self._late) and not await self._due(at):
                return False
            wrong = broken and i == min(before, len(pieces) - 1)
            self._waiting += _BROKEN if wrong else events.piece_event(piece)
            self._sent = i + 1
        if broken and not pieces:
            self._waiting += _BROKEN
        if not ends:
            return True
        self._bill()
        if self._kind == "overloaded_in_stream":
            self.row.stop = "overloaded_error"
            body = Refused(529, "Overloaded").body(self.exchange.request_id)
            await self.exchange.write(self._waiting + events.event("error", body), more=False)
        else:
            self.row.stop = "cut"
            await self.exchange.write(self._waiting)
            await self.exchange.cut()
        return False

    async def _end(self) -> None:
        if not await self._due(self.reply.seconds):
            return
        self.row.bill(self.reply.usage, self.reply.usage.output)
        self.row.complete, self.row.stop = self._kind != "malformed_event", self.reply.stop_reason
        await self.exchange.write(self._waiting + events.end_events(self.reply), more=False)

    async def _due(self, at: float) -> bool:
        """Wait until a time of the reply's, what there is being sent before; returns whether the client stayed."""
        wait = self._late + (at / self.speed if self.speed else 0.0)
        if not wait:
            return True
        if self._waiting:
            self._bill()
            await self.exchange.write(self._waiting)
            self._waiting = b""
        if await self.exchange.wait_until(self.exchange.arrived + wait):
            return True
        self.row.stop = "client left"
        return False

    def _bill(self) -> None:
        self.row.bill(self.reply.usage, self.reply.output(self._sent))

    @property
    def _kind(self) -> str:
        return self.fault.kind if self.fault is not None else ""


def without_stream(fault: Fault | None) -> Fault | None:
    """Return what a fault is for a reply that is not streamed: an overload comes before the answer."""
    return replace(fault, kind="overloaded") if fault is not None and fault.kind == "overloaded_in_stream" else fault
