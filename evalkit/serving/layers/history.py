"""What was said before in a conversation, kept between its questions and told to each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

from evalkit.errors import EvalkitError, InputError
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.keeping.keys import hashed
from evalkit.serving.state.base import Entry, State, Storage, opened
from evalkit.serving.state.memory import Memory
from evalkit.values import Answers, Value


@dataclass(frozen=True)
class ConversationHistory:
    """Tells a request the last turns of its conversation before anything is worked out from it.

    A conversation is one of one user of one tenant; a request that names none has no history. A turn is a question
    and the answer that was given to it, be it from a cache; a request that got none leaves no turn. The next question
    of a conversation waits until the one before it is answered and written, so that none is answered without knowing
    of the other: they are taken in the order in which they reach this layer.

    List it first: caches behind it then tell questions with different histories apart. Where the state cannot be
    read the conversation is continued without what it held; where it cannot be written the turn is lost. Both are
    counted among the service's failures, or noted.

    A window of turns moves: once it is full, every prompt begins differently from the one before it, and a prompt
    cache (claims R8) reads nothing behind the system prompt. With ``turns=None`` each prompt begins as the one before
    it ended, and grows.

    Notes ``turns``: how many the request was told.

    Parameters
    ----------
    turns : int or None
        The last that are told and kept. "The last three messages", from the user's to the question, are one turn
        and the question. None: all; 0: none, and nothing is kept.
    write : {"behind", "before"}
        behind: the answer does not wait until its turn is kept. before: it does.
    ttl : float or None
        Seconds after its last turn for which a conversation is remembered. None: for ever.
    storage : Storage
        Where conversations are kept.
    at : {"answer"}
    """

    turns: int | None = 3
    write: Literal["behind", "before"] = "behind"
    ttl: float | None = None
    storage: Storage = field(default_factory=Memory)
    at: Literal["answer"] = "answer"

    tells_history: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.at not in ("answer",) or self.write not in ("behind", "before"):
            raise InputError(
                f"ConversationHistory: at is {self.at!r} and write {self.write!r}; it stands at 'answer' and writes "
                "'behind' or 'before'"
            )
        if (self.turns is not None and self.turns < 0) or (self.ttl is not None and not self.ttl >= 0):
            raise InputError(
                f"ConversationHistory: turns {self.turns} and ttl {self.ttl} must be at least 0, or None for no bound"
            )

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""
        state = opened(self.storage, hashed("conversations", serving.fingerprint), serving)
        orders = _Orders()

        async def handle(request: Request, go_on: Next) -> Value:
            if not request.conversation or self.turns == 0:
                return await go_on(request)
            key = hashed(request.tenant, request.user, request.conversation)
            done = await orders.turn(key)
            try:
                said = self._last(await self._said(state, key, request) or request.history)
                request.note("turns", len(said) // 2)
                request.tell(request.text, said)
                value = await go_on(request)
                text = cast("Answers", value).text[0]
                entry = self._entry(self._last((*said, request.text, text)), request, serving.now())
            except BaseException:
                done()
                raise
            if self.write == "behind":
                serving.beside(_written(state, key, entry, done))
                return value
            try:
                await _written(state, key, entry, done)
            except EvalkitError as error:
                request.note("history", f"not kept: {error}")
            return value

        return handle

    async def _said(self, state: State, key: str, request: Request) -> tuple[str, ...]:
        try:
            entry = await state.get(key)
        except EvalkitError as error:
            request.note("history", f"not read: {error}")
            return ()
        return tuple(json.loads(entry.value)) if entry is not None else ()

    def _last(self, messages: tuple[str, ...]) -> tuple[str, ...]:
        return messages if self.turns is None else messages[max(0, len(messages) - 2 * self.turns) :]

    def _entry(self, messages: tuple[str, ...], request: Request, now: float) -> Entry:
        value = json.dumps(messages, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return Entry(value, now, self.ttl, by=str(request.number))


async def _written(state: State, key: str, entry: Entry, done: Callable[[], None]) -> None:
    try:
        await state.put(key, entry)
    finally:
        done()


class _Orders:
    """One turn at a time in each conversation, in order of asking; nothing is held of those that rest."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def turn(self, key: str) -> Callable[[], None]:
        """Wait for the conversation to be free; returns what frees it again."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            await lock.acquire()
        except BaseException:
            self._leave(key)
            raise

        def done() -> None:
            lock.release()
            self._leave(key)

        return done

    def _leave(self, key: str) -> None:
        lock, users = self._locks[key]
        if users == 1:
            del self._locks[key]
        else:
            self._locks[key] = lock, users - 1
