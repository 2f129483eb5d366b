"""Claude, through Anthropic's SDK."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from evalkit.calls import CallFailed
from evalkit.errors import InputError
from evalkit.llm.messages import Chat
from evalkit.llm.pricing import Prices
from evalkit.llm.providers.anthropic import URL, VARIABLE, MessagesEndpoint, body
from evalkit.llm.providers.anthropic_batches import Batches
from evalkit.llm.providers.anthropic_stream import stream
from evalkit.llm.providers.endpoint import checked_url
from evalkit.llm.providers.retry import answered
from evalkit.llm.tokens import at_most_tokens
from evalkit.types import Clock
from evalkit.values import Answer, Prompt

_CHAT = Chat()
_LEAST_THINKING = 1024
_OVERHEAD, _A_BLOCK = 512, 16
"""More tokens than a request without tools is charged beside its text, in all and for every block."""


@dataclass(frozen=True)
class Claude:
    """Claude, streamed from Anthropic's Messages API, or half-priced from its Message Batches API.

    The key is read from ``ANTHROPIC_API_KEY`` at every call, and is written nowhere; a server on this machine needs
    none. The identity is the model's name and who serves it, so that what a stand-in answered is never taken for
    Claude's word. How it was asked (`timeout`, `retries`) is not part of it.

    A try that failed is made again where the same request may succeed: after 408, 409, 429 (unless the spending
    limit is reached), 500 and above, a time-out, a lost connection, an overload in mid-stream, a broken or malformed
    stream. What a broken try used is kept in ``call.attempts``. Where no try ends, the answer is what came of the
    last one that gave text: ``call.stop`` is "interrupted".

    Parameters
    ----------
    model : str
        As the API calls it.
    max_tokens : int
        Most tokens of an answer, reasoning included.
    chat : Chat
        Instructions, where the documents stand, and the breakpoints of the prompt cache.
    thinking : {"adaptive", "disabled"}, int or None
        Reasoning before the answer: as the model sees fit, none, or of at most so many tokens, 1024 at least (which
        newer models refuse). None: the model's default.
    timeout : float
        Seconds without a sign of the server after which a try is given up.
    retries : int
        Tries after the first.
    batched : bool
        Have prompts answered together, in batches that take up to 24 hours, at half the price. Their calls say
        nothing of latency.
    base_url : str or None
        The server, without ``/v1``. None: ``ANTHROPIC_BASE_URL``, else Anthropic.
    server : str
        A name that stands in the identity instead of the URL, so that answers are found again when a server moves.

    Raises
    ------
    CallFailed
        By a call that got no answer; `final` without a key, with one that is refused, for an unknown model, when the
        credit is spent, and when the server asks to wait more than a minute.
    """

    model: str = "claude-haiku-5-5"
    max_tokens: int = 1024
    chat: Chat = _CHAT
    thinking: Literal["adaptive", "disabled"] | int | None = None
    timeout: float = 120.0
    retries: int = 2
    batched: bool = False
    base_url: str | None = None
    server: str = ""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    paid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InputError("Claude: model is empty; name one, such as claude-haiku-5-5")
        for field, least in (("max_tokens", 1), ("retries", 0)):
            if getattr(self, field) < least:
                raise InputError(f"Claude: {field} is {getattr(self, field)}; it must be at least {least}")
        if not self.timeout > 0:
            raise InputError(f"Claude: timeout is {self.timeout}; it must be more than 0 seconds")
        if isinstance(self.thinking, int) and not _LEAST_THINKING <= self.thinking < self.max_tokens:
            raise InputError(
                f"Claude: thinking is {self.thinking}; it must be at least {_LEAST_THINKING} tokens, and fewer than "
                f"max_tokens, which is {self.max_tokens}"
            )
        if self.base_url is not None:
            _checked(self.base_url, "base_url")

    def identity(self) -> dict[str, Any]:
        """Say who serves the model; how it is asked there does not count."""
        return {"base_url": self.server or self._url, "timeout": None, "retries": None}

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt: streamed, or, if `batched`, in a batch of one. Samples are as many calls."""
        if self.batched:
            asked = [(prompt, sample)]
            made = (await self.fetch(await self.hand_in(asked, clock), asked, clock))[0]
            if isinstance(made, CallFailed):
                raise made
            return made
        place, request = self._place, self._body(prompt)
        key = place.key()
        client = await place.client(key)
        return await answered(
            lambda: stream(client, request, place, key, clock),
            prompt, sample, clock, where=place.where, model=self.model, retries=self.retries,
        )  # fmt: skip

    async def hand_in(self, asked: Sequence[tuple[Prompt, int]], clock: Clock) -> str:
        """Hand in prompts as one batch; returns its name at the server.

        Raises
        ------
        CallFailed
            If it was not taken, or nothing says whether it was.
        """
        return await Batches(self._place, self.retries).hand_in([self._body(prompt) for prompt, _ in asked], clock)

    async def fetch(
        self, batch: str, asked: Sequence[tuple[Prompt, int]], clock: Clock
    ) -> Mapping[int, Answer | CallFailed]:
        """Wait until a batch has ended, and return its answers by place in `asked`.

        A request that errored, was cancelled or expired has a `CallFailed` in its place.

        Raises
        ------
        CallFailed
            If the batch or its results cannot be had.
        """
        return await Batches(self._place, self.retries).fetch(batch, [prompt for prompt, _ in asked], clock)

    def at_most(self, prompt: Prompt) -> float:
        """Return the most US dollars that a call can cost, retries included, on any day that the price list knows.

        It rests on bytes, of which a prompt has no fewer than tokens, and on `max_tokens`. 0 for a model without a
        price at another server than Anthropic's.

        Raises
        ------
        InputError
            If the price list does not know a model of Anthropic's.
        """
        prices = Prices.load()
        if self._url != URL and not prices.knows(self.model):
            return 0.0
        messages = self.chat.messages(prompt)
        blocks = len(messages.system) + sum(len(turn.blocks) for turn in messages.turns)
        tokens = at_most_tokens(messages.text) + _OVERHEAD + _A_BLOCK * blocks
        tries = 1 if self.batched else self.retries + 1
        return prices.at_most(self.model, tokens, self.max_tokens, tries=tries, batch=self.batched)

    @property
    def _url(self) -> str:
        if self.base_url is not None:
            return _checked(self.base_url, "base_url")
        return _checked(os.environ.get("ANTHROPIC_BASE_URL") or URL, "ANTHROPIC_BASE_URL")

    @property
    def _place(self) -> MessagesEndpoint:
        return MessagesEndpoint(type(self).__name__, self.model, self._url, self.timeout)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        thinking: dict[str, Any] | None = None
        if isinstance(self.thinking, int):
            thinking = {"type": "enabled", "budget_tokens": self.thinking}
        elif self.thinking is not None:
            thinking = {"type": self.thinking}
        return body(self.model, self.max_tokens, thinking, self.chat.messages(prompt))


def _checked(url: str, name: str) -> str:
    return checked_url(url, "Claude", name, VARIABLE, "http://127.0.0.1:8000")
