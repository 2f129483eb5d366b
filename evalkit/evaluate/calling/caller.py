"""Calls to models within a run: each made once, kept as soon as it is there, and none begun that may not be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from evalkit import fingerprint
from evalkit.calls import INTERRUPTED, Call, CallFailed
from evalkit.clock import BatchClock
from evalkit.evaluate.calling.journal import calls_of
from evalkit.evaluate.calling.spending import OverBudget, Spending
from evalkit.llm.call_keys import asked as as_asked
from evalkit.llm.call_keys import call_key
from evalkit.types import Digest, Generator, Store
from evalkit.values import Answer, Prompt

AT_ONCE = 8


class Ended(Exception):
    """The run is to end: what is not done is left."""


class Asked(NamedTuple):
    """A prompt, and which sample of its answer is wanted."""

    prompt: Prompt
    sample: int


class Caller:
    """One generator's calls within a run, through the journal.

    An answer is written into the journal before anyone sees it, so that a kill loses no paid call. What a broken
    stream left, and what a call that got no answer used, is written down too, beside the answers: it is counted and
    exported, and the call is made again in the next run.

    Parameters
    ----------
    generator : Generator
    store : Store, optional
        Without one, nothing is remembered.
    spending : Spending, optional
    ended : function
        Whether the run has ended: no call is begun then.
    at_once : int, optional
        Calls under way at the same time; default 8.
    """

    def __init__(
        self,
        generator: Generator,
        store: Store | None = None,
        spending: Spending | None = None,
        ended: Callable[[], bool] = lambda: False,
        at_once: int | None = None,
    ) -> None:
        self.generator, self.journal, self.ended = generator, calls_of(store), ended
        self.spending = spending if spending is not None else Spending()
        self.clock = BatchClock()
        self.at_once = AT_ONCE if at_once is None else at_once
        self._limit = asyncio.Semaphore(self.at_once)
        self._under_way: dict[Digest, asyncio.Task[Answer]] = {}
        self._paid = bool(getattr(generator, "paid", False))

    def key(self, asked: Asked) -> Digest:
        """Return the key of a call."""
        return call_key(self.generator, asked.prompt, asked.sample)

    def known(self, keys: Sequence[Digest]) -> dict[Digest, Answer]:
        """Return the answers that the journal has."""
        entries = self.journal.recall(list(keys))
        return {key: Answer.read(entry) for key, entry in entries.items()}

    async def __call__(self, prompt: Prompt, sample: int = 0) -> Answer:
        """Answer one prompt: from the journal, with another one's call for the same, or by a call.

        Raises
        ------
        CallFailed
            If the call got no answer.
        Ended
            If the run has ended, or the call could pass the limit on spending.
        """
        asked = Asked(prompt, sample)
        key = self.key(asked)
        if key not in self._under_way:
            found = self.known([key])
            if key in found:
                return found[key]
            self._under_way[key] = asyncio.ensure_future(self.make(key, asked))
        try:
            return await self._under_way[key]
        finally:
            self._under_way.pop(key, None)

    async def make(self, key: Digest, asked: Asked) -> Answer:
        """Make a call, and keep what came of it."""
        if (recorded := self._before(key, asked)) is not None:
            return recorded
        async with self._limit:
            if self.ended():
                raise Ended
            if key in (made := self.known([key])):  # by another run on this store, while this one waited
                return made[key]
            try:
                async with self.spending.room(self.bound(asked)):
                    if self.ended():
                        raise Ended
                    answer = await self.generator(asked.prompt, asked.sample, self.clock)
                    self.keep(key, asked, answer)
            except OverBudget:
                raise Ended from None
            except CallFailed as failure:
                self.failed(key, asked, failure)
                raise
        return answer

    def keep(self, key: Digest, asked: Asked, answer: Answer) -> None:
        """Count an answer and write it into the journal; one whose stream broke is no answer to be found again."""
        self._count(answer.call, asked)
        if answer.call is not None and answer.call.stop == INTERRUPTED:
            self._given_up(key, asked, answer.call, {"text": answer.text, "cited": list(answer.cited)})
        else:
            self.journal.record(key, {**answer.plain(), **as_asked(self.generator, *asked)})

    def failed(self, key: Digest, asked: Asked, failure: CallFailed) -> None:
        """Count a call that got no answer, and write down what it used."""
        self._count(failure.call, asked, failed=True)
        self._given_up(key, asked, failure.call, _told(failure))

    def recorded(self, todo: Mapping[Digest, Asked]) -> dict[Digest, Answer | CallFailed]:
        """Return what is recorded of calls that never got a whole answer."""
        found: dict[Digest, Answer | CallFailed] = {}
        for key, asked in todo.items():
            try:
                if (recorded := self._before(key, asked)) is not None:
                    found[key] = recorded
            except CallFailed as failure:
                found[key] = failure
        return found

    def _before(self, key: Digest, asked: Asked) -> Answer | None:
        entry = self.journal.before(key, as_asked(self.generator, *asked))
        return Answer.read(entry) if entry is not None else None

    def bound(self, asked: Asked) -> float:
        """Return the most dollars that a call can cost; 0 where nobody set a limit."""
        if not self._paid or self.spending.limit is None:  # nobody asks what an unlisted model may cost
            return 0.0
        return float(self.generator.at_most(asked.prompt))  # type: ignore[attr-defined]

    def _count(self, call: Call | None, asked: Asked, failed: bool = False) -> None:
        if self._paid:
            self.spending.add(call, failed, self.bound(asked))

    def _given_up(self, key: Digest, asked: Asked, call: Call, what: Mapping[str, object]) -> None:
        when = datetime.now(UTC).isoformat()  # of several, a replay takes the last
        entry = {"of": key, **what, "when": when, "call": call.plain(), **as_asked(self.generator, *asked)}
        self.journal.record(fingerprint.digest(["given up", key, call.plain()]), entry)


def _told(failure: CallFailed) -> dict[str, object]:
    return {"error": str(failure), "final": failure.final}
