"""Money: what a run's calls have cost, what those under way may cost at most, and a limit that is never passed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from evalkit.calls import INTERRUPTED, Call, TokenUsage
from evalkit.llm.pricing import Prices

_PAUSE = 0.02


class OverBudget(Exception):
    """The next call could pass the limit; it is not made."""


def spent_words(spending: Mapping[str, Any]) -> str:
    """Say what a run spent, and how far that is known."""
    if not spending.get("counted", True):
        return "not counted: the calls were made by a cluster's workers"
    named = {"failed": "failed", "interrupted": "broke off"}
    notes = [f"{spending[key]:,} {words}" for key, words in named.items() if spending[key]]
    doubts = {
        "incomplete": "of {:,} the final usage did not arrive: at least this",
        "unpriced": "{:,} of a model without a price: not in it",
        "bounded": "{:,} of an embedder that does not say what it used: at most this",
    }
    notes += [words.format(spending[key]) for key, words in doubts.items() if spending.get(key)]
    calls = f"${spending['dollars']:.4f} on {spending['calls']:,} calls"
    return calls + "".join(f"; {note}" for note in notes)


class Spending:
    """What one run spends on calls, judges included. What the journal already has costs nothing again.

    Before a call its bound is set aside: as many tokens as its prompt has bytes, the longest answer, every retry. A
    call whose bound does not fit waits until those under way have said what they really cost; one that does not fit
    with nothing under way is refused, so that the limit is never passed. Where a final usage did not arrive, the rest
    of the call's bound stays set aside: what it cost is known to nobody here. Safe for threads.

    Parameters
    ----------
    limit : float or None
        US dollars; None: no limit.
    prices : Prices, optional
        Default: evalkit's, and those of ``EVALKIT_PRICES``.
    """

    def __init__(self, limit: float | None = None, prices: Prices | None = None) -> None:
        self.limit, self.dollars = limit, 0.0
        self.calls, self.failed, self.interrupted, self.refused = 0, 0, 0, 0
        self.incomplete, self.unpriced, self.bounded = 0, 0, 0
        self.usage = TokenUsage()
        self._prices = prices
        self.in_doubt, self.wanted = 0.0, 0.0
        self._aside = 0.0
        self._lock = threading.Lock()

    @property
    def prices(self) -> Prices:
        """The price list."""
        if self._prices is None:
            self._prices = Prices.load()
        return self._prices

    @asynccontextmanager
    async def room(self, bound: float) -> AsyncIterator[None]:
        """Set a call's bound aside while it is under way; waits for others where there is no room.

        Raises
        ------
        OverBudget
        """
        while not self._set_aside(bound):
            await asyncio.sleep(_PAUSE)
        try:
            yield
        finally:
            self._release(bound)

    @contextmanager
    def held(self, bound: float, *, owed: bool = False) -> Iterator[None]:
        """Set a bound aside without waiting for others.

        Parameters
        ----------
        bound : float
        owed : bool
            It is for what an earlier run began: it cannot be refused any more.

        Raises
        ------
        OverBudget
            If there is no room.
        """
        with self._lock:
            if not owed and not self._fits(bound):
                self.refused, self.wanted = self.refused + 1, bound
                raise OverBudget
            self._aside += bound
        try:
            yield
        except BaseException:
            with self._lock:  # it was begun, and nobody knows what it will cost
                self.in_doubt += bound
            raise
        finally:
            self._release(bound)

    @contextmanager
    def room_now(self, bound: float) -> Iterator[None]:
        """As `room`, for a thread that may wait."""
        while not self._set_aside(bound):
            time.sleep(_PAUSE)
        try:
            yield
        finally:
            self._release(bound)

    def add(self, call: Call | None, failed: bool = False, bound: float = 0.0) -> None:
        """Count a call that was made; `bound` is what was set aside for it."""
        if call is None:
            return
        priced = bool(call.model) and self.prices.knows(call.model)
        dollars = self.prices.dollars(call) if priced else 0.0
        unknown = not all(attempt.refused for attempt in call.attempts) if failed else call.at_least
        with self._lock:
            self.in_doubt += max(0.0, bound - dollars) if unknown else 0.0
            self.calls += 1
            self.failed += failed
            self.interrupted += call.stop == INTERRUPTED
            self.incomplete += unknown
            self.unpriced += not priced
            self.dollars += dollars
            self.usage += call.used

    def add_at_most(self, dollars: float) -> None:
        """Count a call that does not say what it used, at the most that it can have cost."""
        with self._lock:
            self.calls += 1
            self.bounded += 1
            self.dollars += dollars

    def plain(self) -> dict[str, Any]:
        """Return what was spent as JSON-ready data."""
        return {
            "dollars": self.dollars,
            "limit": self.limit,
            "in doubt": self.in_doubt,
            "calls": self.calls,
            "failed": self.failed,
            "interrupted": self.interrupted,
            "refused": self.refused,
            "incomplete": self.incomplete,
            "unpriced": self.unpriced,
            "bounded": self.bounded,
        }

    def _set_aside(self, bound: float) -> bool:
        with self._lock:
            if self._fits(bound):
                self._aside += bound
                return True
            if not self._aside:
                self.refused, self.wanted = self.refused + 1, bound
                raise OverBudget
            return False

    def _fits(self, bound: float) -> bool:
        taken = self.dollars + self.in_doubt + self._aside
        return self.limit is None or not bound or taken + bound <= self.limit

    def _release(self, bound: float) -> None:
        with self._lock:
            left = self._aside - bound
            self._aside = left if left > 1e-12 else 0.0  # sums of floats need not come back to nothing
