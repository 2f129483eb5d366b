"""A generator that is paid for by the price list, and one that hands in batches; both leave a line for every call."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from toys import note_call

from evalkit.calls import INTERRUPTED, Attempt, Call, CallFailed, TokenUsage
from evalkit.llm.pricing import Prices
from evalkit.values import Answer, Prompt

BATCHES = "PAID_BATCHES"
"""Names the folder in which a batch lies from its handing in on, as it would at a provider."""


@dataclass(frozen=True)
class Paid:
    """Answers with the first passage; a call costs what its words cost, at the price of a listed model.

    Questions that hold a word of `refuses` get no answer, those with a word of `breaks` half of one.
    """

    model: str = "claude-opus-5"
    refuses: str = "\0"
    breaks: str = "\0"
    final: bool = False
    pause: float = 0.0

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"
    paid: ClassVar[bool] = True

    def usage(self, prompt: Prompt) -> TokenUsage:
        return TokenUsage(input=1000 * (1 + sum(len(p.split()) for p in prompt.passages)), output=500)

    def at_most(self, prompt: Prompt) -> float:
        used = self.usage(prompt)
        return Prices.load().at_most(self.model, 2 * used.prompt, 2 * used.output)

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        note_call(prompt.question)
        await asyncio.sleep(self.pause)
        used = self.usage(prompt)
        if self.refuses in prompt.question:
            tries = (Attempt("529 overloaded_error", 0.1, TokenUsage(input=100)),)
            call = Call(self.model, seconds=0.1, stop="529 overloaded_error", day="2026-11-01", attempts=tries)
            raise CallFailed(f"Paid, {self.model}: overloaded; try again later", call, self.final)
        text = " ".join(prompt.passages[:1])
        stop = INTERRUPTED if self.breaks in prompt.question else "end_turn"
        text = text[: len(text) // 2] if stop == INTERRUPTED else text
        call = Call(
            self.model, used, (0.2, 0.3, 0.5), 1, 0.5, stop, day="2026-11-01", complete=stop == "end_turn"
        )  # fmt: skip
        return Answer(text, prompt.sources[:1], call)


@dataclass(frozen=True)
class PaidInBatches(Paid):
    """The same, handed in together and fetched later, as often as anyone asks for it."""

    batched: ClassVar[bool] = True

    async def hand_in(self, asked: Sequence[tuple[Prompt, int]], clock: Any) -> str:
        folder = Path(os.environ[BATCHES])
        name = f"batch_{len(list(folder.iterdir()))}"
        (folder / name).write_text(json.dumps([prompt.question for prompt, _ in asked]))
        return name

    async def fetch(
        self, batch: str, asked: Sequence[tuple[Prompt, int]], clock: Any
    ) -> Mapping[int, Answer | CallFailed]:
        handed_in = json.loads((Path(os.environ[BATCHES]) / batch).read_text())
        assert len(asked) == len(handed_in)
        found: dict[int, Answer | CallFailed] = {}
        for i, (prompt, sample) in enumerate(asked):
            try:
                found[i] = await self(prompt, sample, clock)
            except CallFailed as failure:
                found[i] = failure
        return found
