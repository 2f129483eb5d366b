"""One question on its way through a service: the request-by-request interpreter of the graph."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from evalkit.calls import Call, CallFailed
from evalkit.errors import InputError
from evalkit.evaluate.apply import told
from evalkit.types import QUERY, Clock, Digest, Handler, Node, Op
from evalkit.types import Generator as Model
from evalkit.values import Answer, Prompt, Prompts, Value

if TYPE_CHECKING:
    from evalkit.serving.running import Running


class Event(NamedTuple):
    """Something that took time in a request.

    Parameters
    ----------
    name : str
        A layer, as ``Cache[answer]``, or a stage of work.
    kind : {"layer", "work", "call"}
        A call is a model's; it waits for no core.
    start, began, end : float
        Seconds on the clock. Work waits for a core from `start` to `began`; else the two are one.
    """

    name: str
    kind: str
    start: float
    began: float
    end: float


@dataclass(eq=False)
class Request:
    """A question, its clock, and the nodes worked out for it so far.

    Parameters
    ----------
    running : Running
        The service that answers it.
    number : int
    text, user, tenant, conversation : str
    arrived : float
        On the clock, in seconds.
    history : tuple of str
        What was said before.

    Attributes
    ----------
    events : list of Event
        In order of their ends.
    calls : list of Call
        What was asked of models, failed calls included.
    first : float or None
        When the first piece of the answer came that is handed on as it comes; None: the answer came whole.
    notes : {name: value}
    """

    running: Running
    number: int
    text: str
    user: str = ""
    tenant: str = ""
    conversation: str = ""
    arrived: float = 0.0
    history: tuple[str, ...] = ()
    sample: int = 0
    notes: dict[str, str | float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    first: float | None = None

    def __post_init__(self) -> None:
        self.clock: Clock = self.running.clock
        self.corpus: Digest = self.running.corpus
        self._ready: Mapping[Digest, Value] = self.running.ready
        self._cells: dict[Digest, Awaitable[Value]] = {}

    def get(self, node: Node) -> Awaitable[Value]:
        """Return the node's one-row value; each node is worked on at most once a request."""
        cell = self._cells.get(node.recipe)
        if cell is None:
            cell = self._cells[node.recipe] = self._start(node)
        return cell

    def note(self, key: str, value: str | float) -> None:
        """Write something down for this request's row in the results."""
        self.notes[key] = value

    def served(self, layer: str, by: str, level: str = "") -> None:
        """Say that a layer gave an answer that was made before, and by which request."""
        self.notes["hit"] = f"{layer}: {level}" if level else layer
        self.notes["made_by"] = by

    def whole(self) -> None:
        """Say that the answer is handed on only when it is there to its end."""
        self.first = None

    def tell(self, text: str, history: tuple[str, ...]) -> None:
        """Set what is asked and what was said before it.

        Raises
        ------
        InputError
            If something was worked out from the question already.
        """
        if QUERY.recipe in self._cells and (text, history) != (self.text, self.history):
            raise InputError("a layer changes the question after another has worked on it; list it first")
        self.text, self.history = text, history

    def end(self) -> None:
        """Stop what is still being worked out: nobody waits for it any more."""
        for cell in self._cells.values():
            if isinstance(cell, asyncio.Future) and not cell.done():
                cell.cancel()
            elif isinstance(cell, asyncio.Future) and not cell.cancelled():
                cell.exception()  # a failure that nobody asked about is nobody's

    def _start(self, node: Node) -> Awaitable[Value]:
        if node.recipe in self._ready:
            return _There(self._ready[node.recipe])
        if node.op == "query":
            return _There(self.running.question(self.text, self.history))
        return asyncio.ensure_future(self._through(node))

    async def _through(self, node: Node) -> Value:
        around = self.running.around(node)
        return await (Way(node, around)(self) if around else self.work(node))

    async def work(self, node: Node) -> Value:
        """Work a node out: its inputs first, then itself."""
        if self.running.side_by_side and len(node.inputs) > 1:
            inputs = tuple(await asyncio.gather(*(self.get(parent) for parent in node.inputs)))
        else:
            inputs = tuple([await self.get(parent) for parent in node.inputs])
        if isinstance(node.op, Op):
            return await self._compute(node, inputs)
        return await Way(node, self.running.calling, inputs)(self)

    async def _compute(self, node: Node, inputs: tuple[Value, ...]) -> Value:
        clock = self.clock
        start = began = clock.now()

        def work() -> Value:
            nonlocal began
            began = clock.now()
            return self.running.apply(node, inputs)

        value = await clock.compute(node.stage, work)
        self.events.append(Event(node.stage, "work", start, began, clock.now()))
        return value

    async def call(self, node: Node, inputs: tuple[Value, ...]) -> Value:
        """Call a model."""
        prompt = Prompt.rows(cast("Prompts", inputs[0]))[0]
        start = self.clock.now()
        try:
            with told(node):
                answer = await cast("Model", node.op)(prompt, self.sample, self.clock)
        except CallFailed as failure:
            self.calls.append(failure.call)
            raise
        finally:
            self.events.append(Event(node.stage, "call", start, start, self.clock.now()))
        if answer.call is not None:
            self.calls.append(answer.call)
            self.first = start + answer.call.pieces[0] if answer.call.pieces else None
        return Answer.table([answer])


class Way:
    """The rest of a request's way to a node: see `Next`."""

    __slots__ = ("_layers", "inputs", "node")

    def __init__(self, node: Node, layers: tuple[tuple[str, Handler], ...], inputs: tuple[Value, ...] = ()) -> None:
        self.node, self._layers, self.inputs = node, layers, inputs

    async def __call__(self, request: Any) -> Value:
        """Go on: through the next layer or, behind the last one, to the work."""
        if not self._layers:
            return cast(
                "Value", await (request.call(self.node, self.inputs) if self.inputs else request.work(self.node))
            )
        (name, handler), clock = self._layers[0], request.clock
        start = clock.now()
        try:
            return await handler(request, Way(self.node, self._layers[1:], self.inputs))
        finally:
            request.events.append(Event(name, "layer", start, start, clock.now()))

    def to(self, node: Node) -> Way:
        """Go the same way to another node."""
        return Way(node, self._layers, self.inputs)


class _There:
    """A value that is there already; may be awaited again and again."""

    __slots__ = ("_value",)

    def __init__(self, value: Value) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Value]:
        yield from ()
        return self._value
