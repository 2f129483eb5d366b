"""Something in the place of nothing, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import EvalkitError, InputError
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.layers.failures import Kind, kind_of, reason_of
from evalkit.types import Generator, Node
from evalkit.values import Answer, Rankings, Value

_NONE: Array = np.zeros(0)


@dataclass(frozen=True)
class Fallback:
    """Answers without grounds where there would be no answer, and says so.

    Around ``answer`` or ``generate`` the answer is that of `generator`, or else (and if that fails too) a fixed
    text that cites nothing. Around ``retrieve`` nothing is found, and the answer goes on without context.
    ``fallback[<at>]`` is noted: what was given and why, as ``text: timed out`` or ``no context: ...``; nothing is
    noted for who needed none.

    No cache keeps what was given in need.

    Parameters
    ----------
    answer : str or None
        The fixed text. None: if there is no generator, or it fails too, the failure goes on.
    generator : Generator or None
        It gets the prompt that the variant's own generator would get. The layers further in are around it too.
    on : tuple of {"failed", "refused", "error"}
        What it stands in for: calls that got no answer (time-outs too), refusals of layers further in, work of a
        stage that raised, such as that of a vector store that is gone.
    at : {"retrieve", "answer", "generate"}
    """

    answer: str | None = "Sorry, there is no answer at the moment. Please try again later."
    generator: Generator | None = None
    on: tuple[Kind, ...] = ("failed", "refused")
    at: Literal["retrieve", "answer", "generate"] = "answer"

    def __post_init__(self) -> None:
        if self.at == "retrieve" and self.generator is not None:
            raise InputError("Fallback: a generator finds nothing; set at to 'answer' or 'generate', or leave it out")
        if self.at not in ("retrieve", "answer", "generate"):
            raise InputError(f"Fallback: at is {self.at!r}; it is one of 'retrieve', 'answer', 'generate'")
        if not self.on:
            raise InputError("Fallback: on is empty; name what it stands in for, such as 'failed'")

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""

        async def handle(request: Request, go_on: Next) -> Value:
            try:
                return await go_on(request)
            except EvalkitError as error:
                if kind_of(error) not in self.on:
                    raise
                return await self._instead(request, go_on, error)

        return handle

    async def _instead(self, request: Request, go_on: Next, error: EvalkitError) -> Value:
        reason = reason_of(error)
        request.fit = False
        if self.at == "retrieve":
            request.note(f"fallback[{self.at}]", f"no context: {reason}")
            return Rankings.of([_NONE], [_NONE])
        request.whole()  # what may have been handed on of the answer that broke off is none of this one
        if self.generator is not None:
            try:
                value = await go_on.to(Node(self.generator, go_on.node.inputs))(request)
            except EvalkitError as second:
                if kind_of(second) not in self.on or self.answer is None:
                    raise
                reason = f"{reason}, then {reason_of(second)}"
            else:
                request.note(f"fallback[{self.at}]", f"{type(self.generator).__name__}: {reason}")
                return value
        if self.answer is None:
            raise error
        request.note(f"fallback[{self.at}]", f"text: {reason}")
        return Answer.table([Answer(self.answer)])
