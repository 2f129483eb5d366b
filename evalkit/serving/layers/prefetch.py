"""Look-up and retrieval side by side: what a miss will need is begun before the caches are asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from evalkit.errors import InputError
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.routing.base import question_vectors
from evalkit.types import Node
from evalkit.values import Value


@dataclass(frozen=True)
class Prefetch:
    """Begins retrieval (or the prompt, or the question's embedding) and goes on at once.

    List it before the caches at ``answer``: a miss then takes the longer of look-up and retrieval instead of their
    sum. It is bought with work: what a hit does not need is stopped, but until then it holds a core (in real time
    until the piece of work that has begun is done), and at high load others wait for that core. List it behind a
    router, so that nothing is begun which the route that was chosen does not need, and behind the history.

    Notes ``prefetch``: ``used``; ``wasted`` where nothing that it feeds was worked on; ``not needed`` where it was
    not begun, as the chosen route goes another way.

    Parameters
    ----------
    what : {"retrieve", "prompt", "embed"}
        The seam whose value is begun, with all that it needs.
    at : {"answer"}
    """

    what: Literal["retrieve", "prompt", "embed"] = "retrieve"
    at: Literal["answer"] = "answer"

    works_ahead: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.what not in ("retrieve", "prompt", "embed") or self.at != "answer":
            raise InputError(
                f"Prefetch: what is {self.what!r} at {self.at!r}; it is 'retrieve', 'prompt' or 'embed' at 'answer'"
            )

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work.

        Raises
        ------
        InputError
            If the variant embeds no question, and that is to be begun.
        """
        node = question_vectors(serving.nodes) if self.what == "embed" else serving.nodes[self.what]
        if node is None:
            raise InputError("Prefetch: the variant embeds no question; begin 'retrieve' or 'prompt' instead")
        fed: dict[Node, frozenset[str]] = {}  # by the node of the answer: the stages that take the value

        async def handle(request: Request, go_on: Next) -> Value:
            if go_on.node not in fed:
                fed[go_on.node] = frozenset(n.stage for n in go_on.node.walk() if node in n.inputs)
            if not fed[go_on.node]:
                request.note("prefetch", "not needed")
                return await go_on(request)
            before = len(request.events)
            request.note("prefetch", "wasted")
            request.get(node)
            value = await go_on(request)
            if any(event.kind != "layer" and event.name in fed[go_on.node] for event in request.events[before:]):
                request.note("prefetch", "used")
            return value

        return handle
