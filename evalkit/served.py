"""The protocols of serving: a request on its way, the layers around it, the running service that both see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from evalkit.types import Clock, Digest, Node, Seam, T
from evalkit.values import Value

Place = Literal["embed", "retrieve", "prompt", "answer", "generate"]
"""Where a layer may stand: around a seam, around every embedding of the question, or (``generate``) around every call
of a model, when its prompt is made already."""


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


class Request(Protocol):
    """One question on its way through a service.

    Attributes
    ----------
    number : int
        Place in the order of arrival; below 0 for what is asked before the traffic begins.
    text, user, tenant, conversation : str
    history : tuple of str
        What was said before in the conversation, as in `Queries`; a layer may set it before anything is worked out.
    arrived : float
        On the clock, in seconds.
    corpus : Digest
        The documents as they were when the request came: another version may have replaced them since.
    sample : int
        Which repeat of a call a generator is asked for; a layer that tries again counts it up.
    clock : Clock
    events : list of Event
        What took time so far, in order of the ends.
    notes : {name: value}
        What layers wrote down so far.
    given : {recipe: (Value, whatever the layer knows of it)}
        Values that a layer gave instead of the work, for layers further out (see `evalkit.serving.keeping`).
    fit : bool
        Whether what the request gets may be kept for others; a layer that answers in need sets it to False.
    """

    number: int
    text: str
    user: str
    tenant: str
    conversation: str
    history: tuple[str, ...]
    arrived: float
    corpus: Digest
    sample: int
    clock: Clock
    events: list[Event]
    notes: dict[str, str | float]
    given: dict[Digest, tuple[Value, Any]]
    fit: bool

    def get(self, node: Node) -> Awaitable[Value]:
        """Return the node's one-row value; each node is worked on at most once a request."""

    def note(self, key: str, value: str | float) -> None:
        """Write something down beside the request, for its row in the results."""

    def add(self, key: str, amount: float) -> None:
        """Add to a number that is written down beside the request; it begins at 0."""

    async def compute(self, stage: str, work: Callable[[], T]) -> T:
        """Do work for the request on one of the clock's cores, and take down what it waited and took."""

    def tell(self, text: str, history: tuple[str, ...]) -> None:
        """Set what is asked and what was said before it; an error once something was worked out from it."""

    def served(self, layer: str, by: str, level: str = "") -> None:
        """Say that a layer gave an answer that was made before, and by which request (its number, as a text)."""

    def whole(self) -> None:
        """Say that the answer is handed on only when it is there to its end: a stream stops being one here."""


class Next(Protocol):
    """The rest of the way: the layers further in, and the work itself.

    Attributes
    ----------
    node : Node
        What is worked out in the end. Its recipe names model, prompt and all that they are made from.
    inputs : tuple of Value
        Around a call of a model, its prompt (one row); else empty.
    """

    node: Node
    inputs: tuple[Value, ...]

    @property
    def innermost(self) -> bool:
        """Whether no layer lies further in at this place."""

    def __call__(self, request: Request) -> Awaitable[Value]:
        """Go on. A layer may do so more than once, or not at all."""

    def to(self, node: Node) -> Next:
        """Go the same way to another node."""


Handler = Callable[[Request, Next], Awaitable[Value]]


class Serving(Protocol):
    """One running service, as a layer sees it when it starts.

    Attributes
    ----------
    fingerprint : Digest
        Of the variant and every layer.
    nodes : {seam: Node}
        The variant's.
    clock : Clock
    run : str
        Hexadecimal; marks the state of this run alone. Empty where states last from run to run.
    """

    fingerprint: Digest
    nodes: Mapping[Seam, Node]
    clock: Clock
    run: str

    def now(self) -> float:
        """Seconds of a calendar that others share: since the epoch, or the traffic's own on a virtual clock."""

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that no request waits for. It is done before the service ends; that it fails is counted."""

    def at_ingestion(self, told: Callable[[Ingested], Awaitable[None]]) -> None:
        """Ask to be told when documents come in or go: after it, requests see the new corpus."""

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Ask to be called when the service ends."""

    def holds(self, state: Any) -> None:
        """Say which state (of `evalkit.serving.state`) the layer that is started keeps: its counts are told."""


@dataclass(frozen=True)
class Ingested:
    """Documents that came in or went while a service ran.

    Parameters
    ----------
    at : float
        On the clock, in seconds.
    documents : frozenset of str
        Ids of those that were added, replaced or removed.
    corpus : Digest
        What the corpus is from now on.
    """

    at: float
    documents: frozenset[str]
    corpus: Digest


class Layer(Protocol):
    """What a service wraps around a place of its variant: a cache, a router, a limit.

    A layer is a value; what it remembers belongs to one running service, and comes with `start`. Every layer of a
    service is started when the service is, before its first request.

    Attributes
    ----------
    at : Place
    needs : function, optional
        ``needs(nodes) -> tuple of Node``: what the layer may ask for beyond the variant's own nodes, from those;
        what of it no query enters is made ready before the first request.
    """

    at: Place

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work: it answers by itself, or through what comes next."""
