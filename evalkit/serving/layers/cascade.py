"""A cascade: a cheap model answers first, and the service's own only where that answer will not do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast
from weakref import WeakKeyDictionary

from evalkit.calls import CallFailed
from evalkit.errors import InputError
from evalkit.llm import Extractive
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.checks import AnswerCheck, NoRefusal, NotEmpty, failing
from evalkit.stages import SentenceTransformer
from evalkit.types import Generator, Node, Seam
from evalkit.values import Answers, Prompts, Value

_CHEAPER: WeakKeyDictionary[Request, set[Node]] = WeakKeyDictionary()
"""First answers of cascades further out, which those further in leave alone."""


@dataclass(frozen=True)
class Cascade:
    """Asks a cheap model first, looks at its answer, and asks the model behind it where a check fails.

    Both get the same prompt, which is made once. Both calls are counted, so an escalated request costs and takes the
    sum of the two. An answer of the first model comes whole, as all of it is looked at; that of the second may be
    streamed. A call of the first model that fails escalates too; where a layer refuses it (a limit), the request is
    refused. Cascades may follow one another: the cheapest model is listed first, and each escalates to the next.
    Routers are listed before them, and choose the model that is escalated to in the end.

    Caches that are listed behind it keep the models' answers apart; one that is listed before it is refused.

    Notes ``escalated``: ``no``, or why: ``failed`` or what the first check that failed said.

    Parameters
    ----------
    at : {"answer"}
    first : Generator
        The cheap one.
    checks : tuple of AnswerCheck
        An answer will do if it passes all.

    References
    ----------
    Chen, Zaharia and Zou, *FrugalGPT*, TMLR 2024.
    """

    at: Literal["answer"] = "answer"
    first: Generator = field(default_factory=lambda: Extractive(SentenceTransformer()))
    checks: tuple[AnswerCheck, ...] = (NotEmpty(), NoRefusal())

    chooses_model: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.checks:
            raise InputError("Cascade: no checks; name one, such as NoRefusal")
        if self.at != "answer":
            raise InputError(f"Cascade: at is {self.at!r}; it stands at 'answer', around both models")

    def needs(self, nodes: Mapping[Seam, Node]) -> tuple[Node, ...]:
        """Return the first model's answer."""
        return (Node(self.first, nodes["answer"].inputs),)

    def start(self, serving: Serving) -> Handler:
        """Return the cascade at work."""
        firsts: dict[Node, Node] = {}  # a node's recipe is hashed once

        async def handle(request: Request, go_on: Next) -> Value:
            cheaper = _CHEAPER.setdefault(request, set())
            if go_on.node in cheaper:
                return await go_on(request)
            if go_on.node not in firsts:
                firsts[go_on.node] = Node(self.first, go_on.node.inputs)
            cheaper.add(firsts[go_on.node])
            try:
                value = await go_on.to(firsts[go_on.node])(request)
            except CallFailed:
                lacks = "failed"
            else:
                request.whole()
                prompts = cast("Prompts", await request.get(go_on.node.inputs[0]))
                lacks = failing(self.checks, cast("Answers", value), prompts)
            request.note("escalated", lacks if lacks else "no")
            return await go_on(request) if lacks else value

        return handle
