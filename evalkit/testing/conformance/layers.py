"""What every serving layer must hold to."""

from __future__ import annotations

import gc
import inspect
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

from evalkit.calls import Call, CallFailed
from evalkit.served import Place
from evalkit.serving import Arrival, Outcome, Replay, replay
from evalkit.stages import BM25, Dense, Hybrid, Whole
from evalkit.store import DiskStore
from evalkit.testing.corpus import tiny_dataset
from evalkit.testing.words import HashedWords
from evalkit.types import Clock
from evalkit.values import Answer, Prompt
from evalkit.variants import Service, Variant

_COSTS = {"embed": 0.01, "search": 0.02, "fuse": 0.001, "assemble": 0.001}
_FAILS = "unanswered"
_LATE = 10_000.0
"""Seconds after which a request counts as lost: no layer may take so long on its own."""


def check_layer(layer: Any) -> None:
    """Check that a service with the layer loses no request, whatever users and models do, and does so again alike.

    Three kinds of traffic are replayed on the virtual clock: questions of several users and tenants, some at once and
    some repeated; questions whose users leave while they are worked on; and questions that the model fails at. Every
    request must be answered, or refused with a reason; what a user no longer waits for must be stopped; a failure of
    the model must become an outcome, or an answer beside which the layer noted something. All of it must come out the
    same twice, and leave no task, no unseen exception and no failed work in the background. A layer that says
    ``fails_on_purpose`` may fail requests by itself.

    What a layer must hold to as a value is checked by `check_component`.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    name = type(layer).__name__
    assert layer.at in get_args(Place), f"{name}: at is {layer.at!r}, which is no place"
    _check_documented(layer)
    with tempfile.TemporaryDirectory() as folder:
        run = _Runs(layer, DiskStore(folder))
        _check_answers(name, run.twice(_crowd()), on_purpose=getattr(layer, "fails_on_purpose", False))
        _check_leaving(name, run.twice(_leaving()), run.calls)
        _check_failures(name, run.twice(_failing()))


def _check_documented(layer: Any) -> None:
    lines = (inspect.getdoc(type(layer)) or "").splitlines()
    named = {name for line in lines if (found := re.match(r"([\w, ]+) : ", line)) for name in found[1].split(", ")}
    missing = [field.name for field in fields(layer) if field.name not in named]
    assert not missing, f"{type(layer).__name__}: its docstring does not say what {', '.join(missing)} is"


def _check_counts(name: str, found: Replay, kinds: set[str]) -> None:
    assert [o.number for o in found.outcomes] == list(range(len(found.outcomes))), f"{name}: requests are missing"
    assert not found.failures, f"{name}: work beside the requests failed: {dict(found.failures)}"
    for o in found.outcomes:
        what = f"{name}: request {o.number} ('{o.arrival.text}')"
        lost = o.outcome == "abandoned" and o.arrival.patience == _LATE
        assert not lost, f"{what} was never answered, nor refused"
        assert o.outcome in kinds, f"{what} is {o.outcome}: {o.reason}"
        assert (o.answers is not None) == (o.outcome == "answered"), f"{what} is {o.outcome}, answer {o.answers}"
        assert bool(o.reason) == (o.outcome != "answered"), f"{what} is {o.outcome} for the reason '{o.reason}'"
        assert o.ended >= o.arrived, f"{what} ended before it came"
        assert o.answers is None or len(o.answers) == 1, f"{what} got more than one answer"


def _check_answers(name: str, found: Replay, *, on_purpose: bool) -> None:
    _check_counts(name, found, {"answered", "refused", *(["failed"] if on_purpose else [])})
    assert any(o.outcome == "answered" for o in found.outcomes), f"{name}: answers nobody"


def _check_leaving(name: str, found: Replay, calls: Sequence[_Called]) -> None:
    _check_counts(name, found, {"answered", "refused", "failed", "abandoned"})
    left = {o.arrival.text: o.ended for o in found.outcomes if o.outcome == "abandoned"}
    for call in calls:
        gone = left.get(call.question)
        stopped = gone is None or (call.end is not None and call.end <= gone)
        assert stopped, f"{name}: '{call.question}' is still worked on when its user has left"
    assert all(call.end is not None for call in calls), f"{name}: a call of a model is left running"


def _check_failures(name: str, found: Replay) -> None:
    _check_counts(name, found, {"answered", "refused", "failed"})
    for o in found.outcomes:
        hidden = _FAILS in o.arrival.text and o.outcome == "answered" and not o.notes
        assert not hidden, f"{name}: the model failed at '{o.arrival.text}', and an answer came without a note"


def _crowd() -> list[Arrival]:
    """The questions of a data set, each three times, of which many come at once."""
    asked = [*tiny_dataset().queries.text] * 3
    return [
        Arrival(text, round(i / 4) * 0.5, f"user {i % 3}", f"tenant {i % 2}", f"talk {i % 5}", patience=_LATE)
        for i, text in enumerate(asked)
    ]


def _leaving() -> list[Arrival]:
    """Questions whose users leave at different points of the work, and others whose users do not."""
    asked = [*tiny_dataset().queries.text]
    impatient = [Arrival(text, 5.0 * i, "user", patience=0.011 + 0.13 * i) for i, text in enumerate(asked)]
    patient = [Arrival(f"{text} please", 5.0 * i + 1, "other", patience=_LATE) for i, text in enumerate(asked)]
    return sorted(impatient + patient, key=lambda arrival: arrival.at)


def _failing() -> list[Arrival]:
    """Questions of which the model fails at every other one."""
    asked = [*tiny_dataset().queries.text] * 2
    return [
        Arrival(f"{text} {_FAILS}" if i % 2 else text, i * 1.5, f"user {i % 2}", patience=_LATE)
        for i, text in enumerate(asked)
    ]


class _Runs:
    """Replays of one service; each is run twice, and must come out the same."""

    def __init__(self, layer: Any, store: DiskStore) -> None:
        retrieve = Hybrid(Dense(HashedWords(), k=3), BM25(k=3), k=2)
        self.service = Service(Variant(chunk=Whole(), retrieve=retrieve, generate=_Reader()), (layer,))
        self.store, self.name = store, type(layer).__name__
        self.calls: list[_Called] = []

    def twice(self, arrivals: list[Arrival]) -> Replay:
        first, calls = self._once(arrivals)
        second, self.calls = self._once(arrivals)
        same = [_plain(o) for o in first.outcomes] == [_plain(o) for o in second.outcomes]
        assert same, f"{self.name}: a second replay of the same traffic gives other outcomes"
        assert calls == self.calls, f"{self.name}: a second replay of the same traffic calls the model otherwise"
        return first

    def _once(self, arrivals: list[Arrival]) -> tuple[Replay, list[_Called]]:
        _called.clear()
        with _heard() as heard:
            found = replay(self.service, tiny_dataset(), arrivals, cost=_COSTS, cores=2, store=self.store)
            gc.collect()
        assert not heard, f"{self.name}: asyncio complains: {heard[0]}"
        return found, [*_called]


def _plain(o: Outcome) -> tuple[Any, ...]:
    text = o.answers.text[0] if o.answers is not None else None
    return (o.number, o.arrived, o.first, o.ended, o.outcome, o.reason, text, dict(o.notes), o.events)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What asyncio logs: tasks that were destroyed, exceptions that nobody looked at."""
    lines: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Listening(logging.WARNING)
    logging.getLogger("asyncio").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("asyncio").removeHandler(handler)


@dataclass
class _Called:
    question: str
    start: float
    end: float | None = None


_called: list[_Called] = []


@dataclass(frozen=True)
class _Reader:
    """Takes a second for the first passage's first sentence, and fails at what says that it is unanswered."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt."""
        _called.append(call := _Called(prompt.question, clock.now()))
        try:
            await clock.elapse(1.0)
        finally:
            call.end = clock.now()
        if _FAILS in prompt.question:
            raise CallFailed("the model is overloaded", Call("", seconds=1.0, stop="529 overloaded_error"))
        first = prompt.passages[0].split(". ")[0] if prompt.passages else "hello"
        return Answer(f"{first} (sample {sample})", prompt.sources[:1])
