"""Answers over HTTP, from any server that speaks OpenAI's chat-completions protocol."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from evalkit.errors import InputError
from evalkit.llm.messages import Chat
from evalkit.llm.pricing import Prices
from evalkit.llm.providers.endpoint import checked_url
from evalkit.llm.providers.openai import URL, VARIABLE, ChatEndpoint, chat, package, stream
from evalkit.llm.providers.retry import answered
from evalkit.llm.tokens import at_most_tokens
from evalkit.types import Clock
from evalkit.values import Answer, Prompt

_CHAT = Chat()
_TEMPLATE = 64
"""More tokens than a chat template puts around a message."""


@dataclass(frozen=True)
class OpenAICompatible:
    """Answers from OpenAI, or from a server that speaks its protocol (vLLM, Ollama, llama.cpp).

    It needs the package ``openai`` (``pip install 'evalkit[openai]'``). The key is read from ``OPENAI_API_KEY`` at
    every call and is written nowhere; local servers need none.

    Nobody outside a server can hash its weights: the identity is the model's name, every setting *and* who serves it.
    How a request is sent (`timeout`, `retries`) is not part of it.

    A try that failed is made again where the same request may succeed: after 408, 409, 429 (unless the quota is
    spent), 500 and above, a time-out, a lost connection, an error in mid-stream, a broken or malformed stream. Where
    no try ends, the answer is what came of the last one that gave text: ``call.stop`` is "interrupted".

    Answers are streamed. Pieces of reasoning (``reasoning_content``, ``reasoning``) count as pieces and not as text;
    a server that leaves thoughts in the text must be told to part them (vLLM ``--reasoning-parser``, llama.cpp
    ``--reasoning-format``). The usage is what the server says it is: where it sends none, ``call.complete`` is False
    and the usage a lower bound, which is then 0; nothing is estimated. Such servers cache prompts by themselves, so
    the breakpoints of `chat` are not sent; what they say they read from their cache is counted as ``cache_read``.

    Parameters
    ----------
    model : str
        As the server calls it, and the price list.
    max_tokens : int
        Most tokens of an answer, reasoning included.
    chat : Chat
        How a prompt becomes messages. The system blocks are sent as one message.
    base_url : str or None
        The server, with its version: ``http://127.0.0.1:8000/v1``. None: ``OPENAI_BASE_URL``, else OpenAI.
    server : str
        A name that stands in the identity instead of the URL, so that what was answered is found again when the
        server moves. To give two servers one name says that they serve the same weights.
    temperature : float or None
        Of sampling. None: not sent, for models that take none (OpenAI's that reason) and for a server's own default.
    seed : int or None
        Of sampling, sent with the sample's number added, so that every sample has its own. None: not sent; samples
        then differ as the server lets them.
    timeout : float
        Seconds without a sign of the server after which a try is given up.
    retries : int
        Tries after the first.

    Raises
    ------
    InputError
        If the package is missing, or a field or ``OPENAI_BASE_URL`` is wrong.
    CallFailed
        By a call that got no answer; `final` without a key for OpenAI, with one that is refused, for an unknown
        model, when the quota is spent, and when the server asks to wait more than a minute.
    """

    model: str
    max_tokens: int = 1024
    chat: Chat = _CHAT
    base_url: str | None = None
    server: str = ""
    temperature: float | None = 0.0
    seed: int | None = None
    timeout: float = 120.0
    retries: int = 2

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    paid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InputError("OpenAICompatible: model is empty; name one that the server has")
        for field, least in (("max_tokens", 1), ("retries", 0)):
            if getattr(self, field) < least:
                raise InputError(f"OpenAICompatible: {field} is {getattr(self, field)}; it must be at least {least}")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise InputError(f"OpenAICompatible: temperature is {self.temperature}; it must be from 0 to 2")
        if not self.timeout > 0:
            raise InputError(f"OpenAICompatible: timeout is {self.timeout}; it must be more than 0 seconds")
        if self.base_url is not None:
            _checked(self.base_url, "base_url")

    def identity(self) -> dict[str, Any]:
        """Say who serves the model; how a request is sent there does not count."""
        return {"base_url": self.server or self._url, "timeout": None, "retries": None}

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt. Samples are as many calls."""
        place = ChatEndpoint(type(self).__name__, self.model, self._url, self.timeout)
        package(place.whose)
        request, key = self._body(prompt, sample), place.key()
        client = await place.client(key)
        return await answered(
            lambda: stream(client, request, place, key, clock),
            prompt, sample, clock, where=place.where, model=self.model, retries=self.retries,
        )  # fmt: skip

    def at_most(self, prompt: Prompt) -> float:
        """Return the most US dollars that a call can cost, its retries included; 0 for a local model without a price.

        Raises
        ------
        InputError
            If it is OpenAI that is asked and the price list does not know the model.
        """
        prices = Prices.load()
        if self._url != URL and not prices.knows(self.model):
            return 0.0
        tokens = sum(at_most_tokens(m["content"]) + _TEMPLATE for m in chat(self.chat.messages(prompt)))
        return prices.at_most(self.model, tokens, self.max_tokens, tries=1 + self.retries)

    @property
    def _url(self) -> str:
        if self.base_url is not None:
            return _checked(self.base_url, "base_url")
        return _checked(os.environ.get("OPENAI_BASE_URL") or URL, "OPENAI_BASE_URL")

    def _body(self, prompt: Prompt, sample: int) -> dict[str, Any]:
        # OpenAI's reasoning models refuse max_tokens; other servers may pass over a newer name, and not stop.
        most = "max_completion_tokens" if self._url == URL else "max_tokens"
        body = {"model": self.model, "messages": chat(self.chat.messages(prompt)), most: self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seed is not None:
            body["seed"] = self.seed + sample
        return body


def _checked(url: str, name: str) -> str:
    return checked_url(url, "OpenAICompatible", name, VARIABLE, "http://127.0.0.1:8000/v1")
