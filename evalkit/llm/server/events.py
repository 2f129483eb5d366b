"""From an answer to what the API sends: a message as JSON, or the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.calls import TokenUsage
from evalkit.llm.messages import with_marks
from evalkit.llm.server.wire import Asked
from evalkit.llm.tokens import estimate_tokens
from evalkit.values import Answer

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_BEGUN = 1
"""Output tokens that ``message_start`` states."""


@dataclass(frozen=True)
class Reply:
    """An answer, ready to be sent.

    Parameters
    ----------
    id : str
        Of the message.
    model : str
        As the request names it.
    pieces : tuple of str
        The text, in the pieces in which it is streamed.
    times : tuple of float
        Seconds from the request to each piece, unhurried.
    seconds : float
        Until the message ends.
    usage : TokenUsage
        Of the whole.
    stop_reason : str
    stop_sequence : str or None
        The one that ended it.
    """

    id: str
    model: str
    pieces: tuple[str, ...]
    times: tuple[float, ...]
    seconds: float
    usage: TokenUsage
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None

    def output(self, sent: int) -> int:
        """Return the tokens that were generated when so many pieces were sent."""
        if sent >= len(self.pieces):
            return self.usage.output
        return max(_BEGUN, estimate_tokens("".join(self.pieces[:sent]), self.model))


def reply(asked: Asked, answer: Answer, name: str, charged: TokenUsage) -> Reply:
    """Write an answer down as a model would: with marks for what it cites, up to what the request allows.

    Parameters
    ----------
    asked : Asked
    answer : Answer
        If its call has pieces, they say when the text comes, and those before its first text are silence; else it
        comes word by word, at once.
    name : str
        Of the message.
    charged : TokenUsage
        For the prompt.
    """
    text = with_marks(answer.text, answer.cited, asked.prompt.sources)
    call = answer.call
    reason = call.stop if call is not None and call.stop in ("max_tokens", "refusal") else "end_turn"
    end, reason, sequence = _end(text, asked, reason)
    pieces, times = [], []
    for start, stop, at in _spans(text, answer):
        if start < end:
            pieces.append(text[start : min(stop, end)])
            times.append(at)
    seconds = (times[-1] if times else 0.0) if end < len(text) or call is None else call.seconds
    output = max(_BEGUN, estimate_tokens(text[:end], asked.model))
    usage = charged + TokenUsage(output=output)
    return Reply(name, asked.model, tuple(pieces), tuple(times), seconds, usage, reason, sequence)


def _end(text: str, asked: Asked, reason: str) -> tuple[int, str, str | None]:
    """Return where a text ends, and why: at the first stop sequence, or when it has all the tokens it may have."""
    end, sequence = len(text), None
    for stop in asked.stop_sequences:
        if 0 <= (at := text.find(stop)) < end:
            end, reason, sequence = at, "stop_sequence", stop
    if estimate_tokens(text[:end], asked.model) <= asked.max_tokens:
        return end, reason, sequence
    fits, over = 0, end  # the estimate grows with the text
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (
            (middle, over) if estimate_tokens(text[:middle], asked.model) <= asked.max_tokens else (fits, middle)
        )
    return fits, "max_tokens", None


def _spans(text: str, answer: Answer) -> Iterator[tuple[int, int, float]]:
    """Yield start, end and time of each piece of a text: as the call says, or word by word at once."""
    times = answer.call.pieces[answer.call.first_text :] if answer.call is not None else ()
    if times:
        bounds = [round(len(text) * i / len(times)) for i in range(len(times) + 1)]
        for i, at in enumerate(times):
            if bounds[i] < bounds[i + 1]:
                yield bounds[i], bounds[i + 1], at
        return
    start = 0
    while start < len(text):
        space = text.find(" ", start + 1)
        end = len(text) if space < 0 else space
        yield start, end, 0.0
        start = end


def prewarmed(asked: Asked, name: str, charged: TokenUsage) -> Reply:
    """Return the reply to a request for no output, which only warms the cache."""
    return Reply(name, asked.model, (), (), 0.0, charged, "max_tokens")


def message(reply: Reply, tier: str = "standard") -> dict[str, Any]:
    """Return the message that is not streamed."""
    text = "".join(reply.pieces)
    content = [{"type": "text", "text": text}] if text else []
    usage = usage_fields(reply.usage) | {"service_tier": tier}
    return _message(reply, content, usage, reply.stop_reason, reply.stop_sequence)


def start_events(reply: Reply) -> bytes:
    """Return ``message_start``, with the usage of the prompt, and what stands before the first piece."""
    read = reply.usage
    begun = TokenUsage(read.input, read.cache_write_5m, read.cache_write_1h, read.cache_read, _BEGUN)
    usage = usage_fields(begun) | {"service_tier": "standard"}
    events = event("message_start", {"message": _message(reply, [], usage, None, None)})
    if reply.pieces:
        events += event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    return events + PING


def piece_event(text: str) -> bytes:
    """Return the event of one piece."""
    return event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})


def end_events(reply: Reply) -> bytes:
    """Return what stands behind the last piece: ``message_delta`` with the final usage, ``message_stop``."""
    usage = usage_fields(reply.usage)
    usage.pop("cache_creation")
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": reply.stop_sequence}
    stopped = event("content_block_stop", {"index": 0}) if reply.pieces else b""
    return stopped + event("message_delta", {"delta": delta, "usage": usage}) + event("message_stop", {})


def event(kind: str, data: Mapping[str, Any]) -> bytes:
    """Return one event; `data` without its type."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def usage_fields(usage: TokenUsage) -> dict[str, Any]:
    """Return usage as the API states it."""
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
    }


def _message(
    reply: Reply, content: list[dict[str, Any]], usage: dict[str, Any], reason: str | None, sequence: str | None
) -> dict[str, Any]:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage,
    }
