"""A streamed answer of Claude, as far as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from evalkit.calls import INTERRUPTED, TokenUsage
from evalkit.llm.providers import anthropic as api
from evalkit.llm.providers.refusals import name
from evalkit.llm.providers.retry import Came, Fault
from evalkit.types import Clock

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic


@dataclass
class Reading:
    """A streamed answer, as far as it is read.

    Parameters
    ----------
    request_id : str
    text : list of str
    usage : TokenUsage
    pieces : list of float
        The clock's times of the deltas of content, of any kind.
    first_text : int or None
    stop : str
        Empty until the final usage arrived, with which the answer is whole.
    begun : bool
        Whether the message was begun, with the usage of its prompt.
    """

    request_id: str = ""
    text: list[str] = field(default_factory=list)
    usage: TokenUsage = field(default_factory=TokenUsage)
    pieces: list[float] = field(default_factory=list)
    first_text: int | None = None
    stop: str = ""
    begun: bool = False

    def take(self, event: Any, at: float) -> None:
        """Take one event in; one of a kind that is not known is passed over.

        Raises
        ------
        ValueError
            If it is malformed.
        """
        kind = api.text(api.part(event, "type"))
        if kind == "message_start":
            self.begun = True
            self.usage = api.usage(api.part(event, "message", "usage"), self.usage)
        elif kind == "content_block_start" and api.part(event, "content_block", "type") == "text":
            self.text.append(api.text(api.part(event, "content_block", "text") or ""))
        elif kind == "content_block_delta":
            if api.text(api.part(event, "delta", "type")) == "text_delta":
                self.text.append(api.text(api.part(event, "delta", "text")))
                self.first_text = len(self.pieces) if self.first_text is None else self.first_text
            self.pieces.append(at)
        elif kind == "message_delta":
            self.usage = api.usage(api.part(event, "usage"), self.usage)
            if api.part(event, "delta", "stop_reason") is not None:
                self.stop = api.stop_of(api.part(event, "delta"))

    def came(self, key: str) -> Came:
        """Return what came, whole or not."""
        first = len(self.pieces) if self.first_text is None else self.first_text
        whole, identity = self.begun and bool(self.stop), name(self.request_id, key)
        stop = self.stop if whole else INTERRUPTED
        return Came("".join(self.text), self.usage, tuple(self.pieces), first, stop, identity, whole)


async def stream(
    client: AsyncAnthropic, asked: Mapping[str, Any], place: api.MessagesEndpoint, key: str, clock: Clock
) -> Came | Fault:
    """Make one try, streaming. Nothing is raised that the server or the connection does; a cancelled one hangs up."""
    reading, fault = Reading(), None
    try:
        async with clock.io(), await client.messages.create(**asked, stream=True) as events:
            reading.request_id = events.response.headers.get("request-id", "")
            async for event in events:
                reading.take(event, clock.now())
    except api.problems() as error:
        fault = place.fault(error, key)
    came = reading.came(key)
    if came.complete:
        return came
    if fault is None:
        cut = Fault("stream cut", "the answer broke off before its end; run again")
        fault = cut if reading.begun else Fault("no message", "the answer holds no message; check base_url")
    return replace(
        fault,
        usage=came.usage,
        request_id=fault.request_id or came.request_id,
        part=came if came.text.strip() else None,
    )
