"""What a chat-completions server sends, byte by byte, for the scripts of `scripted.Scripted`."""

from __future__ import annotations

import json

from scripted import LAST, plain, streaming

USAGE = {"prompt_tokens": 35, "completion_tokens": 9, "total_tokens": 44}
CACHED = {**USAGE, "prompt_tokens_details": {"cached_tokens": 24}}
DONE = b"data: [DONE]\n\n"


def data(value):
    """One event."""
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(delta=None, finish=None, **more):
    """One chunk of an answer, as OpenAI sends it."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return data({**head, "choices": [choice], **more})


ROLE = chunk({"role": "assistant", "content": ""})


def text(piece):
    return chunk({"content": piece})


def thought(piece, name="reasoning_content"):
    """A piece of reasoning, as vLLM and llama.cpp name it; newer vLLM and Ollama say ``reasoning``."""
    return chunk({name: piece, "content": None})


def ended(reason="stop", **more):
    return chunk(finish=reason, **more)


def counted(usage=None):
    """The chunk that is only for the usage."""
    return chunk(choices=[], usage=USAGE if usage is None else usage)


def events(*pieces, reason="stop", usage=None):
    return [ROLE, *map(text, pieces), ended(reason), counted(usage), DONE]


def chatting(*given, then=LAST, **headers):
    """A chunked stream of events with an id of its request."""
    return streaming(*given, then=then, **{"x-request-id": "req_1", **headers})


def whole(*pieces, **more):
    """An answer as it should be."""
    return chatting(*events(*(pieces or ("By ", "ferry [1].")), **more))


def refusal(status, code=None, message="said the server", kind="api_error", **headers):
    """An error as OpenAI sends it; a header's name is written with _ for -."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return plain(status, {"error": error}, **{"x-request-id": "req_1", **named})
