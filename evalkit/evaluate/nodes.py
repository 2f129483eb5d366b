"""The batch interpreter's unit of work: one node, over blocks of the data, through the store."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from evalkit import fingerprint
from evalkit.datasets import Dataset
from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.apply import apply, worst
from evalkit.evaluate.calling.caller import Ended
from evalkit.evaluate.calling.spending import Spending
from evalkit.evaluate.plan import Plan
from evalkit.machine import packages_of
from evalkit.types import CORPUS, QUERY, Digest, Node, Op, Origin, Store
from evalkit.values import Table, Value

CORPUS_BLOCK = 512
QUERY_BLOCK = 128


@dataclass(frozen=True)
class Result:
    """A node's result.

    Parameters
    ----------
    blocks : tuple of Digest
        Contents, in order.
    origin : Origin
    from_store : int
        How many blocks were in the store already.
    missing : tuple of str
        What parts could not be had.
    """

    blocks: tuple[Digest, ...]
    origin: Origin = "measured"
    from_store: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why a node has no result: it failed itself, or one that it needs did.

    Parameters
    ----------
    reason : str
        One line: stage, class, what happened.
    stopped : bool
        It did not fail: the run was ended before its turn.
    wrong_input : bool
        What was given was wrong, not the work.
    """

    reason: str
    stopped: bool = False
    wrong_input: bool = False

    def error(self) -> EvalkitError:
        """Return what to raise where nothing else goes on."""
        return InputError(self.reason) if self.wrong_input else EvalkitError(self.reason)


STOPPED = Failure("not finished when the run was ended", stopped=True)
Outcome = Result | Failure
Finished = Callable[[Node, Outcome], None]


@dataclass
class Context:
    """What every node's run needs: the store, a cache of joined values, whom to tell of progress, when to stop.

    `spending` counts what paid calls cost, and may limit it. `busy` holds a lock for every action, so that equal ones
    reached by different ways are worked on once. A value
    that is not to be stored is held in memory; a context that was sent to another process (`shared`) puts it into
    the store by its content, where the others find it and no later run looks for it.
    """

    store: Store
    advance: Callable[[Node], None] = lambda node: None
    stop: threading.Event = field(default_factory=threading.Event)
    spending: Spending = field(default_factory=Spending)
    busy: defaultdict[Digest, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    shared: bool = False
    _joined: OrderedDict[tuple[Digest, ...], Value] = field(default_factory=OrderedDict)
    _held: dict[Digest, Value] = field(default_factory=dict)
    _made: dict[Digest, tuple[Digest, Origin]] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Callable[[Store], Context], tuple[Store]]:
        return _shared_context, (self.store,)

    def whole(self, blocks: tuple[Digest, ...]) -> Value:
        """Load all blocks of a result as one value; the last few stay in memory."""
        value = self._joined.get(blocks)
        if value is None:
            parts = [self._held[block] if block in self._held else self.store.load(block) for block in blocks]
            value = parts[0] if len(parts) == 1 else type(parts[0]).concat(parts)  # type: ignore[attr-defined]
            self._joined[blocks] = value
            while len(self._joined) > 16:
                self._joined.popitem(last=False)
        return value

    def known(self, node: Node, action: Digest) -> tuple[Digest, Origin] | None:
        """Return what an action gave: in the store or, where its op is not to be stored, in this run."""
        return self.store.get(action) if self.stores(node) else self._made.get(action)

    def stores(self, node: Node) -> bool:
        """Whether a node's results go into the store: not those of calls that a cassette answers or records."""
        calls = not isinstance(node.op, Op | str) or getattr(node.op, "paid", False)
        return bool(getattr(node.op, "stored", True)) and not (calls and hasattr(self.store, "cassette"))

    def hold(self, action: Digest, value: Value, origin: Origin) -> Digest:
        """Keep a result for this run alone."""
        if self.shared:
            self.store.add(value)
        else:
            self._held[value.digest] = value
        self._made[action] = value.digest, origin
        return value.digest


_contexts: dict[str, Context] = {}


def _shared_context(store: Store) -> Context:
    """The one context of a worker's process for a store."""
    return _contexts.setdefault(repr(getattr(store, "folder", store)), Context(store, shared=True))


def query_order(data: Dataset, seed: int) -> list[str]:
    """Return query ids in a seeded random order that a query keeps when others come or go."""
    return sorted(data.queries.id, key=lambda name: fingerprint.digest([seed, name]))


def sources(
    data: Dataset, seed: int, store: Store | None = None, query_block: int | None = None
) -> dict[Digest, Result]:
    """Cut the corpus and the queries into blocks, and put them into the store if there is one."""
    order = {name: i for i, name in enumerate(data.queries.id)}
    queries = data.queries.take([order[name] for name in query_order(data, seed)])
    found = {}
    for node, table, size in ((CORPUS, data.documents, CORPUS_BLOCK), (QUERY, queries, query_block or QUERY_BLOCK)):
        blocks = list(_blocks(table, size))
        found[node.recipe] = Result(tuple(store.add(b) if store else b.digest for b in blocks))
    return found


def _blocks(table: Table, size: int) -> Iterator[Table]:
    for start in range(0, len(table), size):
        yield table.take(np.arange(start, min(start + size, len(table))))


def run_task(node: Node, inputs: Sequence[Outcome], context: Context) -> Outcome:
    """Run a node if all that it needs is there; its failure is an outcome, so that others go on."""
    failed = [outcome for outcome in inputs if isinstance(outcome, Failure)]
    if failed:
        return failed[0]
    try:
        return run_node(node, cast("list[Result]", list(inputs)), context)
    except Ended:
        return STOPPED
    except EvalkitError as error:
        return Failure(str(error), wrong_input=isinstance(error, InputError))


def run_node(node: Node, inputs: list[Result], context: Context) -> Result:
    """Run one node over its blocks; what the store has is not worked on."""
    digests, origins, from_store = [], [result.origin for result in inputs], 0
    gaps: list[str] = []
    for action, parts in actions(node, inputs):
        if context.stop.is_set():
            raise Ended
        with context.busy[action]:
            found = context.known(node, action)
            if found is None:
                started = time.perf_counter()
                given = [context.whole(part) for part in parts]
                value, origin, missing = apply(node, given, context.store, context.stop.is_set, context.spending)
                origin = worst([*origins, origin])
                gaps += missing
                if missing or not context.stores(node):
                    found = context.hold(action, value, origin), origin
                else:
                    note = {"op": type(node.op).__name__, "seconds": round(time.perf_counter() - started, 4)}
                    found = context.store.put(action, value, origin, note), origin
            else:
                from_store += 1
        digests.append(found[0])
        origins.append(found[1])
        context.advance(node)
    return Result(tuple(digests), worst(origins), from_store, tuple(gaps))


def actions(node: Node, inputs: Sequence[Result]) -> Iterator[tuple[Digest, list[tuple[Digest, ...]]]]:
    """Yield, for every block of a node, its action and the digests that each input gives to it.

    An action is the op, the packages it rests on and the content of its inputs: equal inputs reached by different
    ways are one action, and what an older version of a package made is not read back.
    """
    pairs = list(zip(node.inputs, inputs, strict=True))
    blocks = [len(result.blocks) for parent, result in pairs if _goes_in_blocks(node, parent)]
    for i in range(blocks[0] if blocks else 1):
        parts = [(result.blocks[i],) if _goes_in_blocks(node, parent) else result.blocks for parent, result in pairs]
        yield fingerprint.digest(["action", node.op, packages_of(node.op), node.per_query, parts]), parts


def preview(plan: Plan, given: Mapping[Digest, Result], store: Store) -> dict[Digest, bool]:
    """Return, for every node that is work, whether the store has its result already. Runs nothing."""
    known, context = dict(given), Context(store)
    for node in plan.work:
        if all(parent.recipe in known for parent in node.inputs):
            asked = actions(node, [known[p.recipe] for p in node.inputs])
            found = [context.known(node, a) for a, _ in asked]
            if all(found):
                known[node.recipe] = Result(tuple(entry[0] for entry in found if entry))
    return {node.recipe: node.recipe in known for node in plan.work}


def _goes_in_blocks(node: Node, parent: Node) -> bool:
    """Whether `node` works on this input block by block: queries always, a corpus where rows stand alone."""
    if node.per_query:
        return parent.per_query
    return isinstance(node.op, Op) and node.op.row_wise
