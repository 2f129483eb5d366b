"""Work that may fail or never end, in threads that nobody has to wait for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.errors import EvalkitError
from evalkit.types import Op, Partial
from evalkit.values import Rankings, Value


@dataclass(frozen=True)
class Step:
    """An op and the places of its inputs, among what is given and what earlier steps made."""

    op: Op
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Strategy:
    """A retriever's work on a query, as steps in order; the last one's result is the ranking."""

    name: str
    steps: tuple[Step, ...]


class Attempt:
    """A strategy at work on one query, from the moment that this is made.

    Parameters
    ----------
    strategy : Strategy
    given : sequence of Value
        The query, then what stands ready.

    Attributes
    ----------
    ranking : Rankings
        Of one row, empty if it failed.
    notes : list of str
        What was missing of a result made without all parts.
    failure : str
        Why there is no result, in one line; empty if there is one.
    """

    _most_left_behind: ClassVar[int] = 8
    _left_behind: ClassVar[Counter[Strategy]] = Counter()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, strategy: Strategy, given: Sequence[Value]) -> None:
        self.strategy, self.notes, self.failure = strategy, list[str](), ""
        self.ranking = Rankings.of([np.zeros(0)], [np.zeros(0)])
        self._given, self._late, self._thread = given, False, None
        self._started = time.monotonic()
        self._outcome: Rankings | BaseException | None = None
        behind = self._left_behind[strategy]
        if behind >= self._most_left_behind:
            self.failure = f"{behind} earlier queries still wait for its answer"
            return
        work = copy_context().run  # what holds here, such as that nothing is remembered while timing, holds there
        self._thread = threading.Thread(target=work, args=(self._work,), name=f"evalkit-{strategy.name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        values, notes = list(self._given), []
        outcome: Rankings | BaseException
        try:
            for step in self.strategy.steps:
                try:
                    values.append(step.op(*(values[place] for place in step.inputs)))
                except Partial as partial:
                    values.append(partial.value)
                    notes.append(partial.note)
            outcome = _one_ranking(values[-1])
        except BaseException as error:  # it has nowhere to go from here; `wait` tells of it
            outcome = error
        with self._lock:
            self.notes, self._outcome = notes, outcome
            if self._late:
                self._left_behind[self.strategy] -= 1

    def wait(self, seconds: float | None) -> None:
        """Wait for the result, at most so many seconds from the start."""
        if self._thread is None:
            return
        self._thread.join(None if seconds is None else max(0.0, self._started + seconds - time.monotonic()))
        with self._lock:
            if self._outcome is None:
                self._late = True
                self._left_behind[self.strategy] += 1
                self.failure = f"no answer within {seconds:g} s"
            elif isinstance(self._outcome, BaseException):
                self.failure = _one_line(self._outcome)
            else:
                self.ranking = self._outcome


def _one_ranking(found: object) -> Rankings:
    if not isinstance(found, Rankings) or len(found) != 1:
        raise TypeError(f"{type(found).__name__} is not the ranking of one query")
    return found


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, EvalkitError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
