"""OpenAI's chat-completions protocol through its SDK: requests, connections, usage, a streamed answer, errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from evalkit.calls import INTERRUPTED, TokenUsage
from evalkit.errors import InputError
from evalkit.llm.messages import Messages
from evalkit.llm.providers.endpoint import CONNECT, Endpoint, held, is_loopback
from evalkit.llm.providers.refusals import name, refused
from evalkit.llm.providers.retry import Came, Fault
from evalkit.types import Clock

if TYPE_CHECKING:
    from openai import AsyncOpenAI

VARIABLE = "OPENAI_API_KEY"
URL = "https://api.openai.com/v1"

_USAGE: Mapping[str, Any] = {"stream_options": {"include_usage": True}}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
_BROKEN = ("abort", "error")
"""Ends that are none: vLLM's for a request that it dropped, OpenRouter's for a provider that failed."""

_STATUS = {
    "invalid_request_error": 400, "context_length_exceeded": 400, "invalid_api_key": 401, "insufficient_quota": 429,
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "requests": 429, "tokens": 429,
}  # fmt: skip
"""The status that a kind of error has where it comes as one (OpenAI, error codes); others in mid-stream are 500."""

_without_usage: set[tuple[str, str]] = set()
"""URLs and models of servers that refused, in this process, to be asked for their usage."""


@dataclass(frozen=True)
class ChatEndpoint(Endpoint):
    """Where a component calls a chat-completions API."""

    variable: ClassVar[str] = VARIABLE
    place: ClassVar[str] = "OPENAI_BASE_URL"

    @property
    def keyless(self) -> bool:
        """Any server but OpenAI's may need none."""
        return self.url != URL

    async def client(self, key: str) -> AsyncOpenAI:
        """Return the SDK's client over the running loop's connections. It retries nothing and follows no redirect.

        A redirect would carry the prompt to where nobody sent it.
        """
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        here = is_loopback(self.url)

        def connections() -> httpx.AsyncClient:
            # a proxy that the environment names is for other machines
            return httpx.AsyncClient(limits=limits, follow_redirects=False, trust_env=not here)

        http = await held(("openai", here), connections, httpx.AsyncClient.aclose)
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, CONNECT))
        client: AsyncOpenAI = package(self.whose).AsyncOpenAI(
            api_key=key, base_url=self.url, max_retries=0, timeout=timeout, http_client=http
        )
        _ = client.chat.completions  # loads what a first call would else be timed with
        return client

    def fault(self, error: Exception, key: str) -> Fault:
        """Read what the SDK or its connections raised. Nothing of the error is kept: it may hold the key."""
        import httpx
        import openai

        if isinstance(error, openai.APIStatusError):
            _, kind, words = said(error.body)
            # a quota that is spent stays so, however long a server says to wait
            headers = {} if kind == "insufficient_quota" else error.response.headers
            return refused(
                error.status_code, kind, words, headers,
                variable=VARIABLE, secret=key, request_id=error.request_id or "",
            )  # fmt: skip
        lost = isinstance(error, openai.APIConnectionError)
        if isinstance(error, openai.APIError) and not lost and error.body is not None:
            return self.stated(error.body, key)
        return self.lost(
            error,
            unreached=(httpx.ConnectError, httpx.ConnectTimeout),
            silent=(openai.APITimeoutError, httpx.TimeoutException),
            hung_up=(openai.APIConnectionError,),
            cut=(httpx.HTTPError, httpx.StreamError),
        )

    def stated(self, body: Any, key: str) -> Fault:
        """Read an error that came in mid-stream, without a status of its own."""
        status, kind, words = said(body)
        return refused(status, kind, words, {}, variable=VARIABLE, secret=key)


def package(whose: str) -> Any:
    """Return the SDK; InputError with how to install it if it is missing."""
    try:
        return import_module("openai")
    except ImportError:
        raise InputError(f"{whose}: the package openai is not installed; pip install 'evalkit[openai]'") from None


def said(body: Any) -> tuple[int, str, str]:
    """Return the status, the kind and the words of an error's body, which servers fill in many ways."""
    body = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(body, Mapping):
        return 500, "", body if isinstance(body, str) else ""
    code, words = body.get("code"), body.get("message") or body.get("detail") or ""
    kind = next((one for one in (code, body.get("type")) if isinstance(one, str) and one), "")
    status = code if isinstance(code, int) and 400 <= code < 600 else _STATUS.get(kind, 500)
    return status, kind, words if isinstance(words, str) else str(words)


def chat(messages: Messages) -> list[dict[str, str]]:
    """Lay a chat out, without its breakpoints.

    The system's blocks are one message, and so is what one side says in a row: many templates want the sides to
    alternate.
    """
    laid: list[dict[str, str]] = []
    for role, blocks in (("system", messages.system), *((turn.role, turn.blocks) for turn in messages.turns)):
        text = "\n\n".join(block.text for block in blocks)
        if laid and laid[-1]["role"] == role:
            laid[-1]["content"] += f"\n\n{text}"
        else:
            laid.append({"role": role, "content": text})
    return laid


def usage(stated: Any) -> TokenUsage:
    """Read the usage that a server states.

    Raises
    ------
    ValueError
        If a number is none.
    """
    prompt, output = _count(stated, "prompt_tokens"), _count(stated, "completion_tokens")
    cached = min(_count(getattr(stated, "prompt_tokens_details", None), "cached_tokens"), prompt)
    return TokenUsage(input=prompt - cached, cache_read=cached, output=output)


def _count(stated: Any, which: str) -> int:
    value = stated.get(which) if isinstance(stated, Mapping) else getattr(stated, which, None)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{which} is no count")
    return value


@dataclass
class Reading:
    """A streamed answer, as far as it is read.

    Parameters
    ----------
    request_id : str
    text : list of str
    usage : TokenUsage
    pieces : list of float
        The clock's times of the deltas that hold something: text, or reasoning.
    first_text : int or None
    stop : str
        Empty until the answer's end arrived; its text is then whole.
    totalled : bool
        Whether the last event was only for the usage, with which some servers end without a word.
    counted : bool
        Whether the final usage arrived: with the end, or behind it.
    begun : bool
        Whether any event arrived.
    """

    request_id: str = ""
    text: list[str] = field(default_factory=list)
    usage: TokenUsage = field(default_factory=TokenUsage)
    pieces: list[float] = field(default_factory=list)
    first_text: int | None = None
    stop: str = ""
    totalled: bool = False
    counted: bool = False
    begun: bool = False

    def take(self, chunk: Any, at: float) -> None:
        """Take one chunk in.

        Raises
        ------
        AttributeError, TypeError, ValueError
            If it is malformed.
        """
        self.begun = True
        self.request_id = self.request_id or _text(chunk.id)
        choices, stated = (chunk.choices or [])[:1], getattr(chunk, "usage", None)
        for choice in choices:
            self._take(choice.delta, at)
            self.stop = _text(choice.finish_reason) or self.stop
        if stated is not None:
            self.usage = usage(stated)
        self.totalled = stated is not None and not choices
        self.counted = (self.counted and bool(self.stop)) or (
            stated is not None and (bool(self.stop) or self.totalled)
        )

    def _take(self, delta: Any, at: float) -> None:
        if delta is None:
            return
        text = _text(delta.content) + _text(getattr(delta, "refusal", None))
        thought = _text(getattr(delta, "reasoning_content", None)) + _text(getattr(delta, "reasoning", None))
        if text:
            self.first_text = len(self.pieces) if self.first_text is None else self.first_text
            self.text.append(text)
        if text or thought:
            self.pieces.append(at)

    def came(self, key: str) -> Came:
        """Return what came, whole or not."""
        first = len(self.pieces) if self.first_text is None else self.first_text
        end = self.stop or ("stop" if self.totalled else "")
        whole = bool(end) and end not in _BROKEN
        stop = _STOPS.get(end, name(end, key) or "end_turn") if whole else INTERRUPTED
        identity = name(self.request_id, key)
        return Came("".join(self.text), self.usage, tuple(self.pieces), first, stop, identity, whole and self.counted)


def _text(value: Any) -> str:
    if not isinstance(value, str | None):
        raise ValueError("no text")
    return value or ""


async def stream(
    client: AsyncOpenAI, asked: Mapping[str, Any], place: ChatEndpoint, key: str, clock: Clock
) -> Came | Fault:
    """Make one try, streaming. Nothing is raised that the server or the connection does; a cancelled one hangs up."""
    import httpx
    import openai

    reading, fault, form = Reading(), None, ""
    try:
        async with clock.io(), await _opened(client, asked, place) as chunks:
            form = chunks.response.headers.get("content-type", "")
            reading.request_id = chunks.response.headers.get("x-request-id", "")
            async for chunk in chunks:
                if getattr(chunk, "object", "") == "error":  # vLLM's form of old
                    fault = place.stated(chunk.model_dump(), key)
                    break
                reading.take(chunk, clock.now())
    except (openai.OpenAIError, httpx.HTTPError, httpx.StreamError, AttributeError, TypeError, ValueError) as error:
        fault = place.fault(error, key)
    came = reading.came(key)
    if came.stop != INTERRUPTED:
        return came
    if fault is None and not reading.begun and not form.startswith("text/event-stream"):
        return Fault("no stream", "the answer is none of this API; check base_url", again=False, final=True)
    return replace(
        fault or Fault("stream cut", "the answer broke off before its end; run again"),
        usage=came.usage,
        request_id=(fault.request_id if fault else "") or came.request_id,
        part=came if came.text.strip() else None,
    )


async def _opened(client: AsyncOpenAI, asked: Mapping[str, Any], place: ChatEndpoint) -> Any:
    """Begin a stream. A server that refuses to be asked for its usage is asked again at once without."""
    import openai

    whose, create = (place.url, place.model), client.chat.completions.create
    if whose not in _without_usage:
        try:
            return await create(**asked, **_USAGE, stream=True)
        except openai.APIStatusError as error:
            if error.status_code not in (400, 422) or "stream_options" not in str(error.body):
                raise
        _without_usage.add(whose)
    return await create(**asked, stream=True)
