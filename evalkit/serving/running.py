"""A service at work: its layers started, its corpus ready, what it does beside its requests."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal, NamedTuple, cast, get_args, get_origin, get_type_hints
from uuid import uuid4

from evalkit.clock import WallClock
from evalkit.columns import Ragged, Strings
from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.apply import apply
from evalkit.served import Handler, Ingested, Layer
from evalkit.serving.corpora import Corpus
from evalkit.serving.state.base import State
from evalkit.types import Clock, Digest, Node, Op, Seam
from evalkit.values import Answer, Answers, Prompt, Prompts, Queries, Value
from evalkit.variants import Service

_REMEMBERED = 50_000
Named = tuple[tuple[str, Handler], ...]


class Step(NamedTuple):
    """How a node is worked out.

    Parameters
    ----------
    stage : str
    computed : bool
        Whether it is work, or a call of a model.
    around : tuple of (str, Handler)
        The layers around it.
    """

    stage: str
    computed: bool
    around: Named


class Running:
    """One running service.

    Parameters
    ----------
    service : Service
    corpus : Corpus
        The first one.
    clock : Clock
    remember : bool
        Work on equal inputs is done once, and what it gave is given again: for a clock on which work takes a stated
        time, whatever it took here.
    keep : bool
        States that last begin as earlier runs left them. False: this run has its own, which end with it.

    Attributes
    ----------
    corpus, ready
        Of the corpus as it stands; a request keeps those that it began with.
    side_by_side : bool
        Whether the branches of a node are worked on at once.
    calling : tuple of (str, Handler)
        What is around every call of a model.
    failures : Counter
        By error, what failed beside the requests.
    states : {layer: State}
        Where layers keep what outlives a request.
    """

    def __init__(
        self, service: Service, corpus: Corpus, clock: Clock, *, remember: bool = False, keep: bool = False
    ) -> None:
        self.fingerprint: Digest = service.fingerprint
        self.nodes: Mapping[Seam, Node] = service.variant.nodes()
        self.clock = clock
        self.run = "" if keep else uuid4().hex  # never in a result
        self.side_by_side = service.side_by_side
        self.corpus, self.ready = corpus.digest, corpus.ready
        self.failures: Counter[str] = Counter()
        self.states: dict[str, State] = {}
        self._starting = ""
        self._epoch = time.time() if isinstance(clock, WallClock) else 0.0
        self._remember = remember
        self._made: OrderedDict[tuple[Any, ...], tuple[Any, Any]] = OrderedDict()
        self._steps: dict[Digest, Step] = {}
        self._questions: OrderedDict[tuple[str, tuple[str, ...]], Queries] = OrderedDict()
        self._beside: set[asyncio.Task[None]] = set()
        self._told: list[Callable[[Ingested], Awaitable[None]]] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._around, self._embedding, self.calling = self._start(service.layers)

    def _start(self, layers: Sequence[Layer]) -> tuple[dict[Digest, Named], Named, Named]:
        by_place: dict[str, Named] = {}
        names: Counter[str] = Counter()
        for layer in layers:
            name = f"{type(layer).__name__}[{layer.at}]"
            names[name] += 1
            self._starting = named = name if names[name] == 1 else f"{name} {names[name]}"
            by_place[layer.at] = (*by_place.get(layer.at, ()), (named, layer.start(self)))
        seams: tuple[Seam, ...] = ("retrieve", "prompt", "answer")
        around = {self.nodes[seam].recipe: by_place[seam] for seam in seams if seam in by_place}
        return around, by_place.get("embed", ()), by_place.get("generate", ())

    def step(self, node: Node) -> Step:
        """Return how a node is worked out for a request."""
        found = self._steps.get(node.recipe)
        if found is None:
            around = self._around.get(node.recipe) or (self._embedding if node.stage == "embed" else ())
            found = self._steps[node.recipe] = Step(node.stage, isinstance(node.op, Op), around)
        return found

    def now(self) -> float:
        """Seconds of a calendar that other processes share."""
        return self._epoch + self.clock.now()

    def question(self, text: str, history: tuple[str, ...]) -> Queries:
        """Return a question as the graph's source; equal ones are one."""

        def make() -> Queries:
            return Queries(Strings.of([""]), Strings.of([text]), Ragged.of([history]))

        return cast("Queries", _kept(self._questions, (text, history), make))

    def apply(self, node: Node, inputs: tuple[Value, ...]) -> Value:
        """Work on one node's one-row values."""
        if not self._remember:
            return apply(node, inputs).value
        return cast("Value", self._once((node.recipe, *map(id, inputs)), lambda: apply(node, inputs).value, inputs))

    def prompt(self, prompts: Prompts) -> Prompt:
        """Return the only row of a table of prompts as a generator receives it."""
        if not self._remember:
            return Prompt.rows(prompts)[0]
        return cast("Prompt", self._once((id(prompts),), lambda: Prompt.rows(prompts)[0], prompts))

    def table(self, answer: Answer) -> Answers:
        """Return an answer as a table of one row."""
        if not self._remember:
            return Answer.table([answer])
        return cast("Answers", self._once((id(answer),), lambda: Answer.table([answer]), answer))

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any], held: Any) -> Any:
        """Make something once for a key of identities; those whose they are are held, so that no other takes them."""
        return _kept(self._made, key, lambda: (make(), held))[0]

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that no request waits for; that it fails is counted."""

        async def counted() -> None:
            try:
                await work
            except Exception as error:
                known = isinstance(error, EvalkitError)
                self.failures[str(error) if known else f"{type(error).__name__}: {error}"] += 1

        task = asyncio.ensure_future(counted())
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def at_ingestion(self, told: Callable[[Ingested], Awaitable[None]]) -> None:
        """Ask to be told when documents come in or go."""
        self._told.append(told)

    def holds(self, state: State) -> None:
        """Take note of a layer's state, whose counts are told at the end."""
        self.states.setdefault(self._starting, state)

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Ask to be called when the service ends."""
        self._closing.append(close)

    async def ingest(self, corpus: Corpus) -> None:
        """Let another corpus take the place of the one that stands, and tell the layers."""
        self.corpus, self.ready = corpus.digest, corpus.ready
        event = Ingested(self.clock.now(), corpus.changed, corpus.digest)
        for told in self._told:
            await told(event)

    async def end(self) -> None:
        """Wait for what is done beside, and let every layer close what it opened."""
        while self._beside:
            await asyncio.gather(*self._beside)
        async with AsyncExitStack() as closing:  # an error of one keeps no other from closing
            for close in self._closing:
                closing.push_async_callback(close)
        # layers and their handlers hold this, and this them: not left to the collector, with the corpus's open files
        self._around, self._embedding, self.calling = {}, (), ()
        self._steps, self._made, self._told, self._closing, self.ready = {}, OrderedDict(), [], [], {}


def _kept(kept: OrderedDict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    found = kept.get(key)
    if found is None:
        found = kept[key] = make()
        if len(kept) > _REMEMBERED:
            kept.popitem(last=False)
    return found


def check_layers(layers: Sequence[Layer]) -> None:
    """Refuse layers that cannot be, alone or in their order, before any work is done.

    Raises
    ------
    InputError
    """
    _check_fields(layers)
    _check_order(layers)


def _check_fields(layers: Sequence[Layer]) -> None:
    """Refuse a word that a layer does not know, and a number that is none: nothing else is that without bounds."""
    for layer in layers:
        kind = type(layer)
        for name, declared in get_type_hints(kind).items():
            given: Any = getattr(layer, name, None)
            if isinstance(given, float) and not math.isfinite(given):
                raise InputError(f"{kind.__name__}: {name} is {given}; give a finite number")
            several = get_origin(declared) is tuple and isinstance(given, tuple)
            words, hint = (given, get_args(declared)[0]) if several else ([given], declared)
            if get_origin(hint) is Literal and (unknown := [word for word in words if word not in get_args(hint)]):
                known = ", ".join(map(repr, get_args(hint)))
                raise InputError(f"{kind.__name__}: {name} is {unknown[0]!r}; it is one of {known}")


def _check_order(layers: Sequence[Layer]) -> None:
    """Refuse what shares answers in front of what chooses the model or tells the history: they would cross."""
    for i, layer in enumerate(layers):
        shares, decides = (getattr(layer, name, False) for name in ("shares_answers", "chooses_model"))
        ahead = shares or decides or getattr(layer, "works_ahead", False)
        for other in layers[i + 1 :]:
            what = "the model" if shares and getattr(other, "chooses_model", False) else ""
            what = "what was said before" if ahead and getattr(other, "tells_history", False) else what
            if what and other.at == layer.at:
                first, second = type(layer).__name__, type(other).__name__
                raise InputError(
                    f"Service: {second} decides on {what}, and {first} in front of it does not know of that: answers "
                    f"would cross; list {second} before {first}"
                )
