"""One question on its way through a service: the request-by-request interpreter of the graph."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from evalkit.calls import Call, CallFailed, TokenUsage
from evalkit.errors import InputError
from evalkit.evaluate.apply import told
from evalkit.served import Event, Handler
from evalkit.serving.costs import asked
from evalkit.types import QUERY, Clock, Digest, Node, T
from evalkit.types import Generator as Model
from evalkit.values import Prompts, Value

if TYPE_CHECKING:
    from evalkit.serving.running import Running


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
    given: dict[Digest, tuple[Value, Any]] = field(default_factory=dict)
    fit: bool = True

    def __post_init__(self) -> None:
        self.clock: Clock = self.running.clock
        self.corpus: Digest = self.running.corpus
        self._ready: Mapping[Digest, Value] = self.running.ready
        self._cells: dict[Digest, Awaitable[Value]] = {}

    def get(self, node: Node) -> Awaitable[Value]:
        """Return the node's one-row value, which is begun now; each node is worked on at most once a request."""
        cell = self._cell(node)
        if cell is None:
            cell = self._cells[node.recipe] = asyncio.ensure_future(self._through(node))
        return cell

    async def need(self, node: Node) -> Value:
        """Return the node's one-row value, worked on here if nobody has begun it: without a task of its own."""
        cell = self._cell(node)
        if cell is not None:
            return await cell
        shared = self._cells[node.recipe] = _Shared(self, node)
        try:
            value = await self._through(node)
        except asyncio.CancelledError:
            del self._cells[node.recipe]  # whoever else waits for it begins it anew
            shared.tell(None)
            raise
        except BaseException as error:
            self._cells[node.recipe] = failed = _Raises(error)
            shared.tell(failed)
            raise
        self._cells[node.recipe] = done = _There(value)
        shared.tell(done)
        return value

    def note(self, key: str, value: str | float) -> None:
        """Write something down for this request's row in the results."""
        self.notes[key] = value

    def add(self, key: str, amount: float) -> None:
        """Add to a number that is written down beside the request."""
        self.notes[key] = cast("float", self.notes.get(key, 0)) + amount

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

    def _cell(self, node: Node) -> Awaitable[Value] | None:
        """Return what is there of a node, or under way; None where it is to be begun."""
        recipe = node.recipe
        cell = self._cells.get(recipe)
        if cell is not None:
            gone = isinstance(cell, asyncio.Future) and cell.cancelled()  # by one who no longer waits for it
            return None if gone else cell
        if recipe in self._ready:
            return _There(self._ready[recipe])
        if node.op != "query":
            return None
        cell = self._cells[recipe] = _There(self.running.question(self.text, self.history))
        return cell

    async def _through(self, node: Node) -> Value:
        around = self.running.step(node).around
        return await (Way(node, around)(self) if around else self.work(node))

    async def work(self, node: Node) -> Value:
        """Work a node out: its inputs first, then itself."""
        running = self.running
        inputs: list[Value] = []
        if running.side_by_side and len(node.inputs) > 1:
            inputs = await asyncio.gather(*(self.get(parent) for parent in node.inputs))
        else:
            for parent in node.inputs:
                value = self._ready.get(parent.recipe)
                inputs.append(await self.need(parent) if value is None else value)
        step = running.step(node)
        if step.computed:
            made = tuple(inputs)
            return await self.compute(step.stage, lambda: running.apply(node, made))
        if running.calling:
            return await Way(node, running.calling, tuple(inputs))(self)
        return await self.call(node, tuple(inputs))

    async def compute(self, stage: str, work: Callable[[], T]) -> T:
        """Do work for the request on one of the clock's cores, and take down what it waited and took."""
        clock = self.clock
        start, began = clock.now(), None
        asked.set(self.text)

        def timed() -> T:
            nonlocal began
            began = clock.now()
            return work()

        try:
            return await clock.compute(stage, timed)
        finally:
            now = clock.now()  # who leaves while waiting for a core has waited till now
            self.events.append(Event(stage, "work", start, now if began is None else began, now))

    async def call(self, node: Node, inputs: tuple[Value, ...]) -> Value:
        """Call a model."""
        prompt = self.running.prompt(cast("Prompts", inputs[0]))
        asked.set(self.text)
        start = self.clock.now()
        try:
            answer = await cast("Model", node.op)(prompt, self.sample, self.clock)
        except CallFailed as failure:
            self.calls.append(failure.call)
            raise
        except asyncio.CancelledError:  # by who waits no longer: the call was made all the same
            took = max(0.0, self.clock.now() - start)
            model = str(getattr(node.op, "model", ""))
            self.calls.append(Call(model, TokenUsage(), (), 0, took, "cancelled", complete=False))
            raise
        except Exception:
            with told(node):
                raise
        finally:
            self.events.append(Event(node.stage, "call", start, start, self.clock.now()))
        if answer.call is not None:
            self.calls.append(answer.call)
            self.first = start + answer.call.pieces[0] if answer.call.pieces else None
        return self.running.table(answer)


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
        (name, handler), now = self._layers[0], request.clock.now
        start = now()
        try:
            return await handler(request, Way(self.node, self._layers[1:], self.inputs))
        finally:
            request.events.append(Event(name, "layer", start, start, now()))

    @property
    def innermost(self) -> bool:
        """Whether no layer lies further in."""
        return not self._layers

    def to(self, node: Node) -> Way:
        """Go the same way to another node."""
        return Way(node, self._layers, self.inputs)


class _There:
    """A value that is there already; may be awaited again and again."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Value]:
        yield from ()
        return cast("Value", self._value)


class _Raises:
    """A failure that was there before; may be awaited again and again."""

    __slots__ = ("_error",)

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __await__(self) -> Generator[Any, None, Value]:
        yield from ()
        raise self._error


class _Shared:
    """A node that somebody works on; others who need it wait here."""

    __slots__ = ("_by", "_node", "_request", "_waiting")

    def __init__(self, request: Request, node: Node) -> None:
        self._request, self._node = request, node
        self._by = asyncio.current_task()
        self._waiting: list[asyncio.Future[Awaitable[Value] | None]] = []

    def tell(self, outcome: Awaitable[Value] | None) -> None:
        """Let those who wait go on: with an outcome or, where there is none, with the work."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(outcome)

    def __await__(self) -> Generator[Any, None, Value]:
        if asyncio.current_task() is self._by:
            raise InputError(
                f"a layer around '{self._node.stage}' waits for what it is asked for; let it go on instead"
            )
        self._waiting.append(waiting := asyncio.get_running_loop().create_future())
        outcome = yield from waiting.__await__()
        rest = self._request.need(self._node) if outcome is None else outcome
        return (yield from rest.__await__())
