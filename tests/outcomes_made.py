"""Outcomes made by hand, where a test needs numbers that no service would give on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.calls import Call, TokenUsage
from evalkit.served import Event, Handler, Next, Request, Serving
from evalkit.serving import Arrival, Outcome, Refused
from evalkit.values import Answer, Value

MODEL = "claude-haiku-4-5"


@dataclass(frozen=True)
class Pauses:
    """Waits before and after what lies within it."""

    before: float = 0.0
    after: float = 0.0
    at: Any = "answer"

    def start(self, serving: Serving) -> Handler:
        async def handle(request: Request, go_on: Next) -> Value:
            await request.clock.sleep(self.before)
            value = await go_on(request)
            await request.clock.sleep(self.after)
            return value

        return handle


@dataclass(frozen=True)
class RefusesEvery:
    """Turns every so-manieth request away."""

    nth: int = 3
    at: Any = "answer"

    def start(self, serving: Serving) -> Handler:
        async def handle(request: Request, go_on: Next) -> Value:
            if request.number % self.nth == self.nth - 1:
                raise Refused("RefusesEvery", "its turn")
            return await go_on(request)

        return handle


@dataclass(frozen=True)
class Notes:
    """Writes something down under a name."""

    name: str
    at: Any = "answer"

    def start(self, serving: Serving) -> Handler:
        async def handle(request: Request, go_on: Next) -> Value:
            request.note(self.name, 7)
            return await go_on(request)

        return handle


def outcome(
    number: int,
    *,
    arrived: float = 0.0,
    took: float = 1.0,
    first: float | None = None,
    became: str = "answered",
    text: str = "the answer",
    notes: dict[str, str | float] | None = None,
    events: Sequence[tuple[str, str, float, float, float]] = (),
    calls: Sequence[Call] = (),
    made: Call | None = None,
    **labels: Any,
) -> Outcome:
    """One outcome; `made` is the call that an answer handed on from before was made with."""
    given = Answer(text, (), made or (calls[-1] if calls else None)) if became == "answered" else None
    return Outcome(
        number, Arrival(labels.pop("asked", f"question {number}"), arrived, **labels), arrived,
        arrived + (took if first is None else first), arrived + took, became,
        "" if became == "answered" else "a reason", None if given is None else Answer.table([given]),
        tuple(calls), notes or {}, tuple(Event(*event) for event in events),
    )  # fmt: skip


def hit(number: int, by: int | str, **given: Any) -> Outcome:
    """A request that a cache answered with what another had made."""
    return outcome(number, notes={"hit": "cache", "made_by": str(by)}, **given)


def call(output: int = 100, *, seconds: float = 1.0, model: str = MODEL, prompt: int = 1000) -> Call:
    return Call(model, TokenUsage(input=prompt, output=output), seconds=seconds)
