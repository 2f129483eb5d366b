"""A micro-batcher: requests that come close together go out together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from evalkit.errors import InputError
from evalkit.evaluate.apply import apply
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.refused import Refused
from evalkit.types import Digest, Node, Op
from evalkit.values import Table, Value

_Key = tuple[Node, Digest]


@dataclass(frozen=True)
class MicroBatch:
    """Collects requests that ask for the same node; they go out when they are enough, or when the first has waited.

    A lone request goes out after the wait. A batch of questions is embedded in one call of the embedder, but only
    where that gives every row what it would get alone, to the bit (``row_exact``), and no layer is listed behind
    this one at ``embed``. Else, and for calls of a model, which take one prompt each, the requests of a batch go out
    together and one by one.

    What is gained, then: the fixed cost of a call of an embedder, spread over the batch. What is paid: up to the
    wait for every request that is not the last of its batch. For calls of a model, and for embedders that are not
    exact by row (torch, where a vector depends on the batch it was made in), nothing is gained; the layer is then
    there to show what its wait costs. A stated cost of work is that of one call, whatever the batch: it makes
    batches look better than they are, so compare with measured costs.

    Notes ``batch[<at>]``, how many went out together, and ``batch_wait[<at>]``, the seconds that the request waited.

    Parameters
    ----------
    at : {"embed", "generate"}
    size : int
        A batch of so many goes out at once.
    wait : float
        Seconds after which a batch goes out though it is not full, from its first request on. 0: what comes at the
        same moment.
    timeout : float or None
        Seconds from a request's coming until it is refused: wait and work. None: never.

    Raises
    ------
    Refused
        ``timed out``. What fails in the work of a batch is raised in each of its requests.
    """

    at: Literal["embed", "generate"] = "embed"
    size: int = 10
    wait: float = 0.5
    timeout: float | None = 30.0

    def __post_init__(self) -> None:
        if self.at not in ("embed", "generate"):
            raise InputError(f"MicroBatch: at is {self.at!r}; it is 'embed' or 'generate'")
        if self.size < 1 or not self.wait >= 0 or (self.timeout is not None and not self.timeout > 0):
            raise InputError(
                f"MicroBatch: size {self.size}, wait {self.wait} and timeout {self.timeout} do not fit; size is at "
                "least 1, wait at least 0 and timeout above 0, or None for none"
            )

    def start(self, serving: Serving) -> Handler:
        """Return the batcher at work, with nobody waiting."""
        open_ones: dict[_Key, _Batch] = {}

        async def through(request: Request, go_on: Next) -> Value:
            node = go_on.node
            together = _one_call(node, go_on)
            inputs = tuple([await request.get(parent) for parent in node.inputs]) if together else ()
            key = node, request.corpus
            batch = open_ones.get(key)
            if batch is None:
                batch = _Batch(lambda: open_ones.pop(key, None))
                open_ones[key] = batch
                batch.timer = asyncio.get_running_loop().call_later(self.wait, batch.go)
            member = _Member(request, inputs, serving.clock.now(), node if together else None)
            batch.members.append(member)
            if len(batch.members) >= self.size:
                batch.go()
            try:
                await member.out
                request.note(f"batch[{self.at}]", member.together)
                request.note(f"batch_wait[{self.at}]", member.left - member.came)
                return await (member.value if together else go_on(request))
            except asyncio.CancelledError:
                batch.leave(member)
                raise

        async def handle(request: Request, go_on: Next) -> Value:
            try:
                async with asyncio.timeout(self.timeout) as limit:
                    return await through(request, go_on)
            except TimeoutError:
                if limit.expired():
                    raise Refused("MicroBatch", "timed out") from None
                raise

        return handle


def _one_call(node: Node, go_on: Next) -> bool:
    """Whether a node's work for several requests can be one call without changing what any of them gets."""
    return go_on.innermost and isinstance(node.op, Op) and node.op.row_exact


@dataclass(eq=False)
class _Member:
    """A request in a batch."""

    request: Request
    inputs: tuple[Value, ...]
    came: float
    node: Node | None  # what is worked on in one call; None: each goes on by itself
    left: float = 0.0
    together: int = 0
    out: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    value: asyncio.Future[Value] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Batch:
    """Requests that go out together, once."""

    def __init__(self, closed: Callable[[], Any]) -> None:
        self.members: list[_Member] = []
        self.timer: asyncio.TimerHandle | None = None
        self._closed = closed
        self._work: asyncio.Task[None] | None = None

    def go(self) -> None:
        """Let all go out; whoever comes now begins another batch."""
        self._close()
        for member in self.members:
            member.left, member.together = member.request.clock.now(), len(self.members)
            if not member.out.done():
                member.out.set_result(None)
        if self.members[0].node is not None:
            self._work = asyncio.ensure_future(self._together(self.members[0].node))

    def leave(self, member: _Member) -> None:
        """A user left: the others' batch goes on without; a batch without anybody does not go."""
        self.members.remove(member)
        if not member.value.cancel() and not member.value.cancelled():
            member.value.exception()  # it came too late for anybody to ask
        if not self.members:
            self._close()
            if self._work is not None:
                self._work.cancel()

    def _close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
            self._closed()

    async def _together(self, node: Node) -> None:
        members = tuple(self.members)
        first = members[0].request  # a recorded cost is that of its question

        def work() -> Value:
            return apply(node, _joined(node, [member.inputs for member in members])).value

        try:
            table = cast("Table", await first.compute(node.stage, work))
        except Exception as error:
            for member in members:
                if not member.value.done():
                    member.value.set_exception(error)
            return
        for i, member in enumerate(members):
            if i:
                member.request.events.append(first.events[-1])
            if not member.value.done():
                member.value.set_result(table.row(i) if len(members) > 1 else table)


def _joined(node: Node, rows: list[tuple[Value, ...]]) -> tuple[Value, ...]:
    """Return inputs of several rows: those of the questions one below the other, the corpus's as they are."""
    found: list[Value] = []
    for place, parent in enumerate(node.inputs):
        given = [inputs[place] for inputs in rows]
        first = given[0]
        if parent.per_query and len(rows) > 1:
            found.append(cast("Any", type(first)).concat(given))
        else:
            found.append(first)
    return tuple(found)
