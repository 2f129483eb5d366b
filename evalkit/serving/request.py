"""One question on its way through a service: the request-by-request interpreter of the graph."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import cast

from evalkit.columns import Strings
from evalkit.evaluate.apply import apply, told
from evalkit.types import Clock, Digest, Generator, Handler, Node, Op
from evalkit.values import Answer, Prompt, Prompts, Queries, Value


@dataclass(eq=False)
class Request:
    """A question, its clock, and the nodes worked out for it so far.

    Parameters
    ----------
    text, user, tenant : str
    arrived : float
        On the clock, in seconds.
    clock : Clock
    ready : {recipe: Value}
        What stands ready before any request: chunks, vectors, indexes.
    layers : {recipe: tuple of Handler}
        What is wrapped around which node, outermost first.
    """

    text: str
    user: str
    tenant: str
    arrived: float
    clock: Clock
    ready: Mapping[Digest, Value]
    layers: Mapping[Digest, tuple[Handler, ...]] = field(default_factory=dict)
    notes: dict[str, str | float] = field(default_factory=dict)
    _cells: dict[Digest, asyncio.Future[Value]] = field(default_factory=dict)

    def get(self, node: Node) -> Awaitable[Value]:
        """Return the node's one-row value; each node is worked on at most once a request."""
        if node.recipe not in self._cells:
            self._cells[node.recipe] = asyncio.ensure_future(self._through(node, self.layers.get(node.recipe, ())))
        return self._cells[node.recipe]

    def note(self, key: str, value: str | float) -> None:
        """Write something down for this request's row in the results."""
        self.notes[key] = value

    async def _through(self, node: Node, layers: tuple[Handler, ...]) -> Value:
        if not layers:
            return await self._work(node)
        return await layers[0](self, lambda request: cast("Request", request)._through(node, layers[1:]))

    async def _work(self, node: Node) -> Value:
        if node.recipe in self.ready:
            return self.ready[node.recipe]
        if node.op == "query":
            return Queries(Strings.of([""]), Strings.of([self.text]))
        inputs = [await self.get(parent) for parent in node.inputs]
        if isinstance(node.op, Op):
            return await self.clock.compute(node.stage, lambda: apply(node, inputs).value)
        prompt = Prompt.rows(cast("Prompts", inputs[0]))[0]
        with told(node):
            return Answer.table([await cast("Generator", node.op)(prompt, 0, self.clock)])
