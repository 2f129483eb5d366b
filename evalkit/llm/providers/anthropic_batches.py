"""Anthropic's Message Batches: many prompts together, at half the price, answered within 24 hours."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from evalkit.calls import Call, CallFailed, TokenUsage
from evalkit.errors import InputError
from evalkit.llm.messages import without_marks
from evalkit.llm.providers import anthropic as api
from evalkit.llm.providers.endpoint import UNREACHED
from evalkit.llm.providers.retry import Fault, failure, today, tried
from evalkit.types import Clock
from evalkit.values import Answer, Prompt

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

MOST_REQUESTS = 100_000
"""Of a batch (Anthropic, Message Batches)."""

_FIRST_LOOK, _LONGEST_LOOK, _GROWTH = 1.0, 60.0, 1.5
_NOT_TAKEN = re.compile(rf"4\d\d\b|503\b|529\b|{UNREACHED}")
"""Faults after which a batch is certainly not at work."""

_NAME = re.compile(r"[\w-]{1,100}", re.ASCII)
_ENDED = {
    "expired": "it was not answered within 24 hours; hand it in again",
    "canceled": "the batch was cancelled before its turn came; hand it in again",
}
T = TypeVar("T")


class Seen(NamedTuple):
    """A batch as it was seen last."""

    ended: bool
    results: str
    day: str


@dataclass(frozen=True)
class Batches:
    """Batches of one component.

    Parameters
    ----------
    place : MessagesEndpoint
    retries : int
        Tries of every request after the first: to hand in, to look, to fetch.
    """

    place: api.MessagesEndpoint
    retries: int

    async def hand_in(self, bodies: Sequence[Mapping[str, Any]], clock: Clock) -> str:
        """Create a batch of requests, each named by its place; returns the batch's name.

        It is tried again only where the server did not take it: behind a connection that broke, it may be at work.

        Raises
        ------
        InputError
            For none or too many.
        CallFailed
        """
        if not 1 <= len(bodies) <= MOST_REQUESTS:
            raise InputError(f"{self.place.whose}: {len(bodies)} requests; a batch holds 1 to {MOST_REQUESTS}")
        requests: Any = [{"custom_id": str(i), "params": body} for i, body in enumerate(bodies)]

        async def create(client: AsyncAnthropic) -> str:
            return _name(api.part(await client.messages.batches.create(requests=requests), "id"))

        return await self._asked(create, "hand in", clock, paid=True)

    async def fetch(self, batch: str, prompts: Sequence[Prompt], clock: Clock) -> dict[int, Answer | CallFailed]:
        """Wait until a batch has ended, and read what it gave for every prompt.

        Raises
        ------
        InputError
            If `batch` is no name of a batch.
        CallFailed
            If the batch or its results cannot be had.
        """
        if not _NAME.fullmatch(batch):
            raise InputError(f"{self.place.where}: {batch!r} is no name of a batch")

        async def look(client: AsyncAnthropic) -> Seen:
            found: Any = await client.messages.batches.retrieve(batch)
            made, ended = api.part(found, "created_at"), _name(api.part(found, "processing_status")) == "ended"
            dated = isinstance(made, datetime) and made.tzinfo is not None
            day = made.astimezone(UTC).date().isoformat() if dated else today()
            return Seen(ended, str(api.part(found, "results_url") or ""), day)

        async def results(client: AsyncAnthropic) -> dict[str, Any]:
            try:
                rows = await client.messages.batches.results(batch)
            except AttributeError:  # the SDK looks at the batch once more, and takes what it gets for one
                raise ValueError("no batch") from None
            try:
                found = {str(api.part(row, "custom_id")): api.part(row, "result") async for row in rows}
            finally:
                await rows.close()
            if any(str(i) not in found for i in range(len(prompts))):
                raise ValueError("results are missing")
            return found

        pause, seen = _FIRST_LOOK, await self._asked(look, batch, clock)
        while not seen.ended:
            await clock.sleep(pause)
            pause = min(pause * _GROWTH, _LONGEST_LOOK)
            seen = await self._asked(look, batch, clock)
        host = urlsplit(seen.results).netloc
        if host not in ("", urlsplit(self.place.url).netloc):
            told = f"batch {batch}: its results lie at {host}, which is sent no key; check base_url"
            raise self._failed(Fault("results elsewhere", told), seen.day)
        found, key = await self._asked(results, batch, clock), self.place.key()
        return {i: self._read(found[str(i)], prompt, seen.day, key) for i, prompt in enumerate(prompts)}

    async def _asked(
        self, ask: Callable[[AsyncAnthropic], Awaitable[T]], what: str, clock: Clock, paid: bool = False
    ) -> T:
        """Ask the server, with retries."""
        key, since = self.place.key(), clock.now()
        client = await self.place.client(key)

        async def attempt() -> T | Fault:
            try:
                async with clock.io():
                    return await ask(client)
            except api.problems() as error:
                fault = self.place.fault(error, key)
            if paid and not _NOT_TAKEN.match(fault.error):
                told = (
                    "nothing says whether the batch was taken, and it may cost money; look at the provider's console"
                )
                return replace(fault, told=told, again=False)
            return fault

        value, failed = await tried(attempt, self.retries, what, clock)
        if value is None:
            seconds = clock.now() - since
            raise failure(self.place.where, self.place.model, failed, seconds=seconds, day=today(), service="batch")
        return value

    def _read(self, result: Any, prompt: Prompt, day: str, key: str) -> Answer | CallFailed:
        """Read one request's result."""
        kind, message, used = api.part(result, "type"), api.part(result, "message"), TokenUsage()
        malformed = Fault("malformed result", "the server sent what is no result of a batch")
        if kind == "succeeded":
            try:
                used = api.usage(api.part(message, "usage"))
                text, cited = without_marks(api.text_of(message), prompt.sources)
                call = Call(self.place.model, used, stop=api.stop_of(message), day=day, service="batch")
            except ValueError:  # it was paid for none the less
                return self._failed(replace(malformed, usage=used), day)
            return Answer(text, cited, call)
        if kind == "errored":
            return self._failed(self.place.stated(api.part(result, "error"), key), day)
        told = _ENDED.get(str(kind))
        return self._failed(Fault(str(kind), told) if told else malformed, day)

    def _failed(self, fault: Fault, day: str) -> CallFailed:
        found = [(replace(fault, again=False), 0.0)]
        return failure(self.place.where, self.place.model, found, seconds=0.0, day=day, service="batch")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("no name")
    return value
