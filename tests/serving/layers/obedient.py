"""A generator that does what its question says, and replays of questions to it in which nothing else takes time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from toys import keywords, small_dataset

from evalkit import Service, replay
from evalkit.calls import Call, CallFailed
from evalkit.serving import Arrival, Refused
from evalkit.types import Node
from evalkit.values import Answer, Prompt


@dataclass(frozen=True)
class Obedient:
    """Takes the ``2.5s`` that the question names, and fails for as many samples as it says: ``fails=2``.

    ``final`` makes a failure final, ``raises`` raises what no generator should, ``says=...`` is answered with that.
    """

    model: str = ""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        asked = prompt.question
        if takes := re.search(r"([\d.]+)s\b", asked):
            await clock.sleep(float(takes[1]))
        if "raises" in asked:
            raise RuntimeError("no such tensor")
        if (fails := re.search(r"fails=(\d+)", asked)) and sample < int(fails[1]):
            call = Call(self.model, stop=f"529 at sample {sample}", complete=False)
            raise CallFailed(f"Obedient: {asked}", call, final="final" in asked)
        if says := re.search(r"says=(.*)", asked):
            return Answer(says[1].split(" else ")[min(sample, says[1].count(" else "))].strip(), prompt.sources[:1])
        return Answer(f"{asked} ({len(prompt.passages)} passages, sample {sample})", prompt.sources[:1])


def served(store: Any, layers: Any, *arrivals: Arrival | str, generate: Any = None, **more: Any) -> Any:
    """Replay questions, in which nothing takes time but what they say."""
    variant = keywords()
    variant = type(variant)(variant.chunk, variant.retrieve, generate=generate or Obedient("toy"))
    asked = [Arrival(one) if isinstance(one, str) else one for one in arrivals]
    return replay(
        Service(variant, tuple(layers)), small_dataset(), asked, store=store, **{"cost": {}, "keep": True, **more}
    )


def calls(found: Any) -> list[tuple[float, float, int]]:
    """Every call of a model: its start, its end and whose it was, by start."""
    return sorted((e.start, e.end, o.number) for o in found.outcomes for e in o.events if e.kind == "call")


def most_at_once(spans: list[tuple[float, float, int]]) -> int:
    """The most of the half-open spans that any instant lies in."""
    return max(sum(start <= at < end for start, end, _ in spans) for at, _, _ in spans)


@dataclass(frozen=True)
class Told:
    """Writes down what a failure further in says of itself."""

    at: str = "generate"

    def start(self, serving: Any) -> Any:
        async def handle(request: Any, go_on: Any) -> Any:
            try:
                return await go_on(request)
            except Refused as refusal:
                request.note("after", refusal.after)
                raise

        return handle


@dataclass(frozen=True)
class ByWord:
    """Sends what the question says to another generator."""

    other: Any
    word: str = "reroute"
    at: str = "generate"

    def start(self, serving: Any) -> Any:
        async def handle(request: Any, go_on: Any) -> Any:
            if self.word in request.text:
                go_on = go_on.to(Node(self.other, go_on.node.inputs))
            return await go_on(request)

        return handle
