"""Message batches: handed in together, worked on one by one in their time, fetched as JSON lines."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from evalkit.llm.server.refusals import Refused

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST = 100_000
"""Requests of a batch (Anthropic, "Batch processing")."""


@dataclass
class _Batch:
    id: str
    requests: list[Mapping[str, Any]]
    created: datetime
    canceled: asyncio.Event = field(default_factory=asyncio.Event)
    cancel_initiated: datetime | None = None
    ended: datetime | None = None
    results: list[dict[str, Any]] = field(default_factory=list)


class Batches:
    """All batches of a server.

    Parameters
    ----------
    answer : callable
        Answers the ``params`` of one request with a message; raises `Refused`.
    seconds : float
        From a batch's creation to its end, shared evenly among its requests.
    """

    def __init__(self, answer: Callable[[Any], Awaitable[dict[str, Any]]], seconds: float) -> None:
        self._answer, self._seconds = answer, seconds
        self._held: dict[str, _Batch] = {}
        self._work: set[asyncio.Task[None]] = set()

    def create(self, data: Mapping[str, Any], url: str) -> dict[str, Any]:
        """Take a batch in and begin with it.

        Raises
        ------
        Refused
            400. What is wrong in the ``params`` of one request is told in its result.
        """
        requests = data.get("requests")
        if not isinstance(requests, list) or not requests:
            raise Refused(400, "requests: at least one request is required")
        if len(requests) > _MOST:
            raise Refused(400, f"requests: at most {_MOST} requests are allowed")
        for i, request in enumerate(requests):
            name = request.get("custom_id") if isinstance(request, dict) else None
            if not isinstance(name, str) or not _ID.fullmatch(name):
                raise Refused(400, f"requests.{i}.custom_id: String should match pattern '^{_ID.pattern}$'")
            if not isinstance(request.get("params"), dict):
                raise Refused(400, f"requests.{i}.params: Field required")
        if len({request["custom_id"] for request in requests}) < len(requests):
            raise Refused(400, "requests: each custom_id must be unique")
        batch = _Batch(f"msgbatch_{len(self._held) + 1:024d}", requests, datetime.now(UTC))
        self._held[batch.id] = batch
        task = asyncio.get_running_loop().create_task(self._process(batch))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return self._shown(batch, url)

    async def _process(self, batch: _Batch) -> None:
        loop = asyncio.get_running_loop()
        begun, each = loop.time(), self._seconds / len(batch.requests)
        results = []
        for i, request in enumerate(batch.requests, 1):
            await _unless(batch.canceled, begun + i * each - loop.time())
            results.append(
                {"custom_id": request["custom_id"], "result": await self._result(batch, request["params"])}
            )
        # the API gives results in any order: whoever relies on one is to notice here
        batch.results = results[::-1]
        batch.ended = datetime.now(UTC)

    async def _result(self, batch: _Batch, params: Any) -> dict[str, Any]:
        if batch.canceled.is_set():
            return {"type": "canceled"}
        try:
            return {"type": "succeeded", "message": await self._answer(params)}
        except Refused as refused:
            return {"type": "errored", "error": refused.body(None)}

    def retrieve(self, name: str, url: str) -> dict[str, Any]:
        """Return how a batch stands."""
        return self._shown(self._get(name), url)

    def cancel(self, name: str, url: str) -> dict[str, Any]:
        """Begin no further request of a batch."""
        batch = self._get(name)
        if batch.ended is None and not batch.canceled.is_set():
            batch.canceled.set()
            batch.cancel_initiated = datetime.now(UTC)
        return self._shown(batch, url)

    def results(self, name: str) -> bytes:
        """Return the results as JSON lines.

        Raises
        ------
        Refused
            404 for a batch that is not known, 400 for one that has not ended.
        """
        batch = self._get(name)
        if batch.ended is None:
            raise Refused(400, f"Message batch {name} has no results yet: it is still in progress")
        return b"".join(json.dumps(line).encode() + b"\n" for line in batch.results)

    def _get(self, name: str) -> _Batch:
        if name not in self._held:
            raise Refused(404, f"Message batch {name} not found")
        return self._held[name]

    def _shown(self, batch: _Batch, url: str) -> dict[str, Any]:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if batch.ended is None:
            counts["processing"] = len(batch.requests)
        for line in batch.results:
            counts[line["result"]["type"]] += 1
        running = "canceling" if batch.canceled.is_set() else "in_progress"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": running if batch.ended is None else "ended",
            "request_counts": counts,
            "created_at": _time(batch.created),
            "ended_at": _time(batch.ended),
            "expires_at": _time(batch.created + timedelta(hours=24)),
            "cancel_initiated_at": _time(batch.cancel_initiated),
            "archived_at": None,
            "results_url": None if batch.ended is None else f"{url}/v1/messages/batches/{batch.id}/results",
        }


async def _unless(event: asyncio.Event, seconds: float) -> None:
    """Wait, unless something happens."""
    if seconds > 0 and not event.is_set():
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
