"""A generator as if it were a model behind a network: its answers, a latency profile's times, a price list's bill."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, ClassVar, Literal, TypeVar
from weakref import WeakKeyDictionary

from evalkit import fingerprint
from evalkit.calls import Call, TokenUsage
from evalkit.clock import BatchClock, WallClock
from evalkit.errors import InputError
from evalkit.llm.latency.profiles import Profile, find_profile
from evalkit.llm.messages import Chat, with_marks
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.ledger import CacheRequest, PromptCache, segments_of
from evalkit.llm.tokens import estimate_tokens
from evalkit.types import Clock, Generator, Origin
from evalkit.values import Answer, Prompt

T = TypeVar("T")


@dataclass(frozen=True)
class Modelled:
    """Answers as another generator does, in the time and at the price of a model.

    A simulated Claude is ``Modelled(Extractive(...), "roadmap", model="claude-haiku-5-5")``: true sentences of the
    passages, a documented latency, today's prices. Nothing is spent. The call that an answer states is `modelled`:
    tokens are estimated, times drawn from the profile, one streamed piece an output token.

    Times are drawn by content: from `seed`, the prompt and the sample number, and from nothing else. So they are the
    same in every process, order and number of workers, and two profiles, models or placements of breakpoints meet
    the same luck, which makes a paired comparison of them sharp.

    On a virtual clock the inner generator's work takes no time: what passes is the call's seconds. On a wall clock
    what it really took is taken off the wait, so that the whole takes the call's seconds, or its own if they are
    more. In a batch evaluation nobody waits.

    What a prompt reads from and writes to the prompt cache is decided by the ledger that the loopback server and the
    planner use too. What it held before cannot depend on the order of calls in an evaluation, so `cache` says it.

    Parameters
    ----------
    generator : Generator
        Whose answers these are. One that costs money or is modelled itself is refused. If its answers state a call,
        as recorded ones do, output tokens and stop reason are taken from that where its usage arrived.
    profile : str or Profile
        A named profile (see `evalkit.llm.latency.profiles`), the path of a YAML file that holds one, or a profile.
        Evalkit states none for the Claude models of today: fit it from recorded calls (``evalkit fit-profile``).
    model : str
        As the price list names it; sets the price, the tokenizer's estimate and the smallest prefix that is cached.
        Empty: it costs nothing and caches any prefix.
    chat : Chat
        How prompts become messages, and where these are marked for the prompt cache.
    cache : {"cold", "warm", "served"}
        cold: nothing was asked before; every marked prefix is written. warm: the same prompt was asked just before;
        the longest marked prefix is read. Bills and times of real traffic lie between these two. served: what the
        prompts asked before on the same clock left there, in order of time, as for a real service; each clock begins
        with an empty cache, and all modelled generators of one model on it share theirs. Refused in an evaluation.
    seed : int
        Of the jitter.
    """

    generator: Generator
    profile: str | Profile
    model: str = ""
    chat: Chat = field(default_factory=Chat)
    cache: Literal["cold", "warm", "served"] = "cold"
    seed: int = 0

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    origin: ClassVar[Origin] = "modelled"
    paid: ClassVar[bool] = False

    def __post_init__(self) -> None:
        inner = type(self.generator).__name__
        if getattr(self.generator, "paid", False):
            raise InputError(f"Modelled: generator: {inner} costs money; model a free one, or a cassette's replay")
        if getattr(self.generator, "origin", "") == "modelled":
            raise InputError(f"Modelled: generator: {inner} is modelled already; model the one within it")
        if self.cache not in ("cold", "warm", "served"):
            raise InputError(f"Modelled: cache is {self.cache!r}; it is one of 'cold', 'warm', 'served'")
        if isinstance(self.profile, str):
            find_profile(self.profile)
        _minimum(self.model)

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the inner generator."""
        return tuple(getattr(self.generator, "packages", ()))

    def identity(self) -> dict[str, Any]:
        """What names stand for: the profile's figures, and what the price list says of the model's prompt cache."""
        named = {"profile": find_profile(self.profile)} if isinstance(self.profile, str) else {}
        return {**named, "model": [self.model, _minimum(self.model)]}

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt.

        Raises
        ------
        InputError
            If the cache is to be as served in a batch evaluation.
        """
        profile, noise = find_profile(self.profile), self.noise(prompt, sample)
        started = clock.now()
        usage, first = self._enter(prompt, profile, noise, clock)
        answer = await self.generator(prompt, sample, _Aside(clock))
        told = answer.call if answer.call is not None and answer.call.complete else None
        written = with_marks(answer.text, answer.cited, prompt.sources)  # a model is paid for its marks too
        output = told.usage.output if told is not None else estimate_tokens(written, self.model)
        pieces = profile.draw_pieces(first, output, noise)
        seconds = pieces[-1] if pieces else first
        stop = answer.call.stop if answer.call is not None else "end_turn"  # half an answer stays half an answer
        call = Call(self.model, replace(usage, output=output), pieces, 0, seconds, stop)
        await clock.elapse(max(0.0, seconds - (clock.now() - started)))
        return replace(answer, call=call)

    def noise(self, prompt: Prompt, sample: int) -> Random:
        """Return what the jitter of one call is drawn from."""
        return Random(int(fingerprint.digest(["jitter", self.seed, prompt, sample]), 16))  # noqa: S311

    def _enter(self, prompt: Prompt, profile: Profile, noise: Random, clock: Clock) -> tuple[TokenUsage, float]:
        """Send the prompt: what it is charged, and when its first token comes. The ledger hears of both."""
        count = partial(estimate_tokens, model=self.model)
        apart = "" if self.model else fingerprint.digest(self)  # models without a name share nothing
        request = CacheRequest(self.model, segments_of(self.chat.messages(prompt), count), workspace=apart)
        if self.cache == "served":
            ledger, now = _served(clock), clock.now()
        else:
            ledger, now = PromptCache(_minimum), 0.0
        if self.cache == "warm":
            ledger.begun(ledger.charge(request, now), now)
        charge = ledger.charge(request, now)
        first = profile.draw_first(charge.usage.uncached, charge.usage.cache_read, noise)
        ledger.begun(charge, now + first)
        return charge.usage, first


def _minimum(model: str) -> int:
    """Return the smallest prefix that a model caches, in tokens."""
    return Prices.load().of(model).minimum if model else 0


_ledgers: WeakKeyDictionary[Any, PromptCache] = WeakKeyDictionary()
_one_at_a_time = threading.Lock()


def _served(clock: Clock) -> PromptCache:
    """Return a clock's prompt cache, empty at first, gone with the clock: a generator is a value and holds none."""
    if isinstance(clock, BatchClock):
        raise InputError(
            "Modelled: cache is 'served', which needs requests in order of time; "
            "evaluate with 'cold' or 'warm', or replay traffic"
        )
    with _one_at_a_time:
        return _ledgers.setdefault(clock, PromptCache(_minimum))


class _Aside:
    """The inner generator's clock: whatever it does takes no virtual time, and no wait is added to its real time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = isinstance(clock, WallClock)

    def now(self) -> float:
        """Seconds on the outer clock."""
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        """Wait, where time is real: a pause between two tries is not to be skipped."""
        await (self._clock.sleep(seconds) if self._wall else asyncio.sleep(0))

    async def elapse(self, seconds: float) -> None:
        """Go on at once: another time is modelled in its place."""

    async def compute(self, stage: str, work: Callable[[], T]) -> T:
        """Do `work`: in a thread where time is real, here and now where it is virtual, on no core."""
        return await self._clock.compute(stage, work) if self._wall else work()

    def io(self) -> AbstractAsyncContextManager[None]:
        """Hold the outer clock."""
        return self._clock.io()
