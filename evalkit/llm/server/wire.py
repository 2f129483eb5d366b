"""From a request's JSON to what it asks: checked as the API checks it, then read as a prompt for a generator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.calls import TTL
from evalkit.errors import InputError
from evalkit.llm.messages import read_document
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.ledger import CacheRequest, Segment
from evalkit.llm.server.refusals import Refused
from evalkit.llm.tokens import estimate_tokens
from evalkit.values import Prompt

_BLOCKS = (
    "text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result",
    "server_tool_use", "web_search_tool_result", "container_upload",
)  # fmt: skip
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True)
class Asked:
    """A request for a message, checked.

    Parameters
    ----------
    prompt : Prompt
        For the generator; its sources are "1", "2", and so on.
    cache : CacheRequest
        For the prompt cache; also names the model.
    max_tokens : int
        0: only the cache is to be warmed.
    stream : bool
    stop_sequences : tuple of str
    """

    prompt: Prompt
    cache: CacheRequest
    max_tokens: int
    stream: bool = False
    stop_sequences: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """As the request names it."""
        return self.cache.model

    @property
    def tokens(self) -> int:
        """Estimated tokens of the whole prompt."""
        return sum(segment.tokens for segment in self.cache.segments)


def read_json(body: bytes) -> dict[str, Any]:
    """Read a body that must be a JSON object.

    Raises
    ------
    Refused
        400, if it is none.
    """
    try:
        data = json.loads(body)
    except ValueError:
        raise Refused(400, "The request body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise Refused(400, "Input should be a valid dictionary")
    return data


def read_request(data: Mapping[str, Any], prices: Prices, counting: bool = False) -> Asked:
    """Check a request and read it.

    Parameters
    ----------
    data : mapping
        Body of ``/v1/messages`` or ``/v1/messages/count_tokens``.
    prices : Prices
        Whose models exist.
    counting : bool
        It is to be counted only, and states no ``max_tokens``.

    Raises
    ------
    Refused
        400 or 404, with the first fault.
    """
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise Refused(400, "model: Field required")
    if not prices.knows(model):
        raise Refused(404, f"model: {model}")
    max_tokens, stream = (0, False) if counting else _output(data)
    system = _contents(data.get("system") or [], "system", ("text",))
    said = _turns(data.get("messages"))
    stops = data.get("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop.strip() for stop in stops):
        raise Refused(400, "stop_sequences: each stop sequence must contain non-whitespace")
    cache = _cache_request(model, data, system, said)
    texts = [(role, [_text(block) for block in blocks]) for role, blocks in said]
    prompt = read_prompt([_text(block)[1] for block in system], texts)
    return Asked(prompt, cache, max_tokens, stream, tuple(stops))


def _output(data: Mapping[str, Any]) -> tuple[int, bool]:
    """Check what says how to answer."""
    for name in ("temperature", "top_p", "top_k"):
        if name in data:
            raise Refused(400, f"{name}: this parameter is not supported for this model")
    most = data.get("max_tokens")
    if most is None:
        raise Refused(400, "max_tokens: Field required")
    if type(most) is not int or most < 0:
        raise Refused(400, "max_tokens: Input should be a valid integer greater than or equal to 0")
    stream = data.get("stream") or False
    if not isinstance(stream, bool):
        raise Refused(400, "stream: Input should be a valid boolean")
    if stream and not most:
        raise Refused(400, "max_tokens: 0 is not supported with streaming")
    return most, stream


def _turns(messages: Any) -> list[tuple[str, list[Mapping[str, Any]]]]:
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: at least one message is required")
    said = []
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Refused(400, f"messages.{i}: Input should be a valid dictionary")
        if (role := message.get("role")) not in ("user", "assistant"):
            raise Refused(400, f"messages.{i}.role: Input should be 'user' or 'assistant'")
        if not (content := message.get("content")):
            raise Refused(400, f"messages.{i}: all messages must have non-empty content")
        said.append((role, _contents(content, f"messages.{i}.content", _BLOCKS)))
    return said


def _contents(content: Any, where: str, kinds: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return content blocks; a plain text is one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise Refused(400, f"{where}: Input should be a valid string or list")
    for i, block in enumerate(content):
        if not isinstance(block, dict) or block.get("type") not in kinds:
            raise Refused(400, f"{where}.{i}.type: Input should be one of {', '.join(kinds)}")
        if block["type"] == "text":
            if not isinstance(text := block.get("text"), str):
                raise Refused(400, f"{where}.{i}.text: Field required")
            if not text:
                raise Refused(400, f"{where}.{i}: text content blocks must be non-empty")
    return content


def _cache_request(
    model: str,
    data: Mapping[str, Any],
    system: Sequence[Mapping[str, Any]],
    said: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
) -> CacheRequest:
    tools = data.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Refused(400, "tools: Input should be a valid list of dictionaries")
    blocks = [("tools", "", tool) for tool in tools] + [("system", "", block) for block in system]
    blocks += [("messages", role, block) for role, held in said for block in held]
    if data.get("cache_control") is not None and blocks[-1][2].get("cache_control") is None:
        part, role, last = blocks[-1]  # the top-level breakpoint stands behind the last block
        blocks[-1] = (part, role, {**last, "cache_control": data["cache_control"]})
    kinds = {block.get("type") for _, _, block in blocks}
    try:
        return CacheRequest(
            model,
            tuple(_segment(model, *each) for each in blocks),
            workspace=str(data.get("workspace_id") or ""),
            web_search=any(str(tool.get("type", "")).startswith("web_search") for tool in tools),
            citations=any(isinstance(c := b.get("citations"), dict) and bool(c.get("enabled")) for *_, b in blocks),
            speed=str(data.get("speed") or ""),
            tool_choice=_stated(data.get("tool_choice")),
            images="image" in kinds,
            thinking=_stated(data.get("thinking")),
        )
    except InputError as error:
        raise Refused(400, str(error)) from None


def _segment(model: str, part: Any, role: str, block: Mapping[str, Any]) -> Segment:
    kind = block.get("type")
    text = block["text"] if kind == "text" else _stated({k: v for k, v in block.items() if k != "cache_control"})
    run: Any = kind if kind in ("tool_use", "tool_result") else ""
    said = f"{role}: {text}" if role else text
    return Segment(said, estimate_tokens(text, model), part, _ttl(block.get("cache_control")), run)


def _ttl(control: Any) -> TTL | None:
    if control is None:
        return None
    if not isinstance(control, dict) or control.get("type") != "ephemeral":
        raise Refused(400, "cache_control.type: Input should be 'ephemeral'")
    if (ttl := control.get("ttl", "5m")) not in ("5m", "1h"):
        raise Refused(400, "cache_control.ttl: Input should be '5m' or '1h'")
    return ttl  # type: ignore[no-any-return]


def _stated(value: Any) -> str:
    return "" if value is None else json.dumps(value, sort_keys=True)


def _text(block: Mapping[str, Any]) -> tuple[tuple[str, str] | None, str]:
    """Return the document that a block holds, if it holds one, and else its text."""
    if block["type"] == "text":
        return read_document(block["text"]), block["text"]
    source = block.get("source") if block["type"] == "document" else None
    if isinstance(source, dict) and source.get("type") == "text" and isinstance(source.get("data"), str):
        return (str(block.get("title") or ""), source["data"]), ""
    return None, ""


Texts = Sequence[tuple[tuple[str, str] | None, str]]


def read_prompt(system: Iterable[str], said: Sequence[tuple[str, Texts]]) -> Prompt:
    """Read the prompt that messages were written from.

    Documents are the blocks that `Chat` writes for them, wherever they stand; the question is the last other text of
    the user's last turn; what was said before is the history. Where no block is a document, the text is of foreign
    origin: the paragraphs of the user's last turn are the passages, and the last of them is the question.

    Parameters
    ----------
    system : iterable of str
        Texts of the system's blocks.
    said : sequence of (role, blocks)
        Each block as (title and passage, if it is a document; its text).
    """
    last = max((i for i, (role, _) in enumerate(said) if role == "user"), default=len(said) - 1)
    found = [held for text in system if (held := read_document(text))]
    found += [held for _, blocks in said for held, _ in blocks if held]
    history = tuple("\n\n".join(text for held, text in blocks if not held and text) for _, blocks in said[:last])
    asked = [text for held, text in said[last][1] if not held and text.strip()]
    if not found:
        asked = [part for text in asked for part in _PARAGRAPHS.split(text.strip())]
        found = [("", part) for part in asked[:-1]]
    titles, passages = tuple(title for title, _ in found), tuple(passage for _, passage in found)
    sources = tuple(str(i) for i in range(1, len(found) + 1))
    return Prompt(asked[-1] if asked else "", titles, passages, sources, history)
