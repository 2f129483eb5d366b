"""Anthropic's Messages API through its SDK: connections, requests, usage, errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from evalkit.calls import TokenUsage
from evalkit.llm.messages import Block, Messages
from evalkit.llm.providers.endpoint import CONNECT, Endpoint, held, is_loopback
from evalkit.llm.providers.refusals import name, refused
from evalkit.llm.providers.retry import Fault

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

VARIABLE = "ANTHROPIC_API_KEY"
URL = "https://api.anthropic.com"

STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500,
    "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip
"""The status that each type of error has where it comes as one (Anthropic, API errors)."""


@dataclass(frozen=True)
class MessagesEndpoint(Endpoint):
    """Where a component calls the Messages API."""

    variable: ClassVar[str] = VARIABLE
    place: ClassVar[str] = "ANTHROPIC_BASE_URL"

    @property
    def keyless(self) -> bool:
        """A server on this machine needs none."""
        return is_loopback(self.url)

    async def client(self, key: str) -> AsyncAnthropic:
        """Return the SDK's client over the running loop's connections.

        It retries nothing, and follows no redirect: that would carry prompts to where nobody sent them.
        """
        import httpx2
        from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        here = is_loopback(self.url)

        def connections() -> httpx2.AsyncClient:
            if here:  # a proxy that the environment names is for other machines
                transport = httpx2.AsyncHTTPTransport(limits=limits, trust_env=False)
                return DefaultAsyncHttpxClient(transport=transport, follow_redirects=False)
            return DefaultAsyncHttpxClient(limits=limits, follow_redirects=False)

        timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, CONNECT))
        http = await held(("anthropic", here), connections, httpx2.AsyncClient.aclose)
        client = AsyncAnthropic(api_key=key, base_url=self.url, max_retries=0, timeout=timeout, http_client=http)
        _ = client.messages.batches  # loads what a first call would else be timed with
        return client

    def fault(self, error: Exception, key: str) -> Fault:
        """Read what the SDK or its connections raised. Nothing of the error is kept: it may hold the key."""
        import anthropic
        import httpx2

        if isinstance(error, anthropic.APIStatusError):
            kind, words = _word(error.type), _word(error.api_message) or _word(error.body)
            status = error.status_code if error.status_code != 200 else STATUS.get(kind, 500)
            return refused(
                status, error.error_code or kind, words, error.response.headers,
                variable=VARIABLE, secret=key, request_id=error.request_id or "",
            )  # fmt: skip
        return self.lost(
            error,
            unreached=(httpx2.ConnectError, httpx2.ConnectTimeout),
            silent=(anthropic.APITimeoutError, httpx2.TimeoutException),
            hung_up=(anthropic.APIConnectionError,),
            cut=(httpx2.HTTPError, httpx2.StreamError),
        )

    def stated(self, response: Any, key: str) -> Fault:
        """Read an error that came as a batch's result, without a status of its own."""
        kind, words = _word(part(response, "error", "type")), _word(part(response, "error", "message"))
        identity = _word(part(response, "request_id"))
        return refused(STATUS.get(kind, 500), kind, words, {}, variable=VARIABLE, secret=key, request_id=identity)


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def problems() -> tuple[type[Exception], ...]:
    """Return what a try may raise: errors of the SDK, of its connections, and of reading what is no JSON."""
    import anthropic
    import httpx2

    return (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError, ValueError)


def body(model: str, max_tokens: int, thinking: Mapping[str, Any] | None, messages: Messages) -> dict[str, Any]:
    """Return a request's body. The API of today takes neither ``temperature`` nor ``top_p`` nor ``top_k``."""
    turns = [{"role": turn.role, "content": [_block(b) for b in turn.blocks]} for turn in messages.turns]
    asked = {"model": model, "max_tokens": max_tokens, "messages": turns}
    return {**asked, "system": [_block(b) for b in messages.system], **({"thinking": thinking} if thinking else {})}


def _block(block: Block) -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral", "ttl": block.ttl}} if block.ttl else {}
    return {"type": "text", "text": block.text, **mark}


def usage(stated: Any, known: TokenUsage | None = None) -> TokenUsage:
    """Read the usage that the API states; what it leaves out is as it was known.

    Raises
    ------
    ValueError
        If a number is none.
    """
    known = known or TokenUsage()
    split = part(stated, "cache_creation")
    hour = _count(split, "ephemeral_1h_input_tokens", known.cache_write_1h)
    five = _count(split, "ephemeral_5m_input_tokens", known.cache_write_5m)
    written = _count(stated, "cache_creation_input_tokens", five + hour)
    return TokenUsage(
        _count(stated, "input_tokens", known.input),
        max(written - hour, 0),
        hour,
        _count(stated, "cache_read_input_tokens", known.cache_read),
        _count(stated, "output_tokens", known.output),
    )


def part(value: Any, *names: str) -> Any:
    """Return a part of what the SDK read, which checks nothing: None where it is not there."""
    for one in names:
        value = value.get(one) if isinstance(value, Mapping) else getattr(value, one, None)
    return value


def _count(stated: Any, which: str, otherwise: int) -> int:
    value = part(stated, which)
    if value is None:
        return otherwise
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{which} is no count")
    return value


def text_of(message: Any) -> str:
    """Return the text of a whole message, without its reasoning.

    Raises
    ------
    ValueError
        If it is no message.
    """
    blocks = part(message, "content")
    if not isinstance(blocks, list):
        raise ValueError("no content")
    return "".join(text(part(block, "text")) for block in blocks if part(block, "type") == "text")


def text(value: Any) -> str:
    """Return a text as it is; ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def stop_of(message: Any) -> str:
    """Return why an answer ended; ValueError if it does not say."""
    if not (stop := name(text(part(message, "stop_reason")))):
        raise ValueError("no stop reason")
    return stop
