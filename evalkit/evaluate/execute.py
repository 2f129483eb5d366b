"""The batch interpreter: runs a plan's nodes over blocks of the data, through the store, on Dask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from evalkit import fingerprint
from evalkit.clock import WallClock, run_async
from evalkit.columns import Array
from evalkit.datasets import Dataset
from evalkit.errors import EvalkitError
from evalkit.evaluate.plan import Plan
from evalkit.machine import packages_of
from evalkit.types import CORPUS, QUERY, Digest, Generator, Node, Op, Origin, Partial, Store
from evalkit.values import Answer, Answers, Chunks, Prompt, Prompts, Queries, Table, Value, Vectors

CORPUS_BLOCK = 512
QUERY_BLOCK = 128
_GENERATING_AT_ONCE = 8
_EMBEDDED_AT_ONCE = 64
_one_batch_at_a_time = threading.Lock()  # batches share prompts: the second finds the first one's calls journalled
_embedding: defaultdict[Digest, threading.Lock] = defaultdict(threading.Lock)  # chunkings share texts in the same way
_RANK: dict[Origin, int] = {"measured": 0, "replayed": 1, "modelled": 2}


@dataclass(frozen=True)
class Result:
    """A node's result: digests of its blocks, and how many of them were already in the store."""

    blocks: tuple[Digest, ...]
    origin: Origin = "measured"
    from_store: int = 0


@dataclass
class Context:
    """What every node's run needs: the store, a cache of joined values, and whom to tell of progress.

    `busy` holds a lock for every action, so that equal ones reached by different ways are worked on once.
    """

    store: Store
    advance: Callable[[int], None] = lambda blocks: None
    busy: defaultdict[Digest, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    notes: list[str] = field(default_factory=list)
    _joined: OrderedDict[tuple[Digest, ...], Value] = field(default_factory=OrderedDict)
    _held: dict[Digest, Value] = field(default_factory=dict)
    _made: dict[Digest, tuple[Digest, Origin]] = field(default_factory=dict)

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
        return self.store.get(action) if _stored(node) else self._made.get(action)

    def hold(self, action: Digest, value: Value, origin: Origin) -> Digest:
        """Keep a result for this run alone."""
        self._held[value.digest] = value
        self._made[action] = value.digest, origin
        return value.digest


def _stored(node: Node) -> bool:
    return bool(getattr(node.op, "stored", True))


def worst(origins: Sequence[Origin]) -> Origin:
    """Return the origin of a number made from others: a total with a modelled part is modelled."""
    return max(origins, key=_RANK.__getitem__, default="measured")


def query_order(data: Dataset, seed: int) -> list[str]:
    """Return query ids in a seeded random order that a query keeps when others come or go."""
    return sorted(data.queries.id, key=lambda name: fingerprint.digest([seed, name]))


def sources(data: Dataset, seed: int, store: Store | None = None) -> dict[Digest, Result]:
    """Cut the corpus and the queries into blocks, and put them into the store if there is one."""
    order = {name: i for i, name in enumerate(data.queries.id)}
    queries = data.queries.take([order[name] for name in query_order(data, seed)])
    found = {}
    for node, table, size in ((CORPUS, data.documents, CORPUS_BLOCK), (QUERY, queries, QUERY_BLOCK)):
        blocks = list(_blocks(table, size))
        found[node.recipe] = Result(tuple(store.add(b) if store else b.digest for b in blocks))
    return found


def _blocks(table: Table, size: int) -> Iterator[Table]:
    for start in range(0, len(table), size):
        yield table.take(np.arange(start, min(start + size, len(table))))


def execute(plan: Plan, given: Mapping[Digest, Result], context: Context) -> dict[Digest, Result]:
    """Run every node of the plan once.

    Parameters
    ----------
    plan : Plan
    given : {recipe: Result}
        The sources.
    context : Context

    Returns
    -------
    {recipe: Result}

    Raises
    ------
    EvalkitError
        If an op fails: with its stage, its class and the reason.
    """
    from dask import delayed
    from dask.threaded import get

    tasks: dict[Digest, Any] = {}
    for recipe, node in plan.nodes.items():
        tasks[recipe] = given.get(recipe) or delayed(run_node, pure=False)(
            node, [tasks[parent.recipe] for parent in node.inputs], context, dask_key_name=recipe
        )
    todo = [recipe for recipe in tasks if recipe not in given]
    graph: dict[Any, Any] = {}
    for recipe in todo:
        graph.update(dict(tasks[recipe].__dask_graph__()))
    done = get(graph, todo, num_workers=os.cpu_count() or 1) if todo else ()
    return {**{r: given[r] for r in plan.nodes if r in given}, **dict(zip(todo, done, strict=True))}


def run_node(node: Node, inputs: list[Result], context: Context) -> Result:
    """Run one node over its blocks; what the store has is not worked on."""
    digests, origins, from_store = [], [result.origin for result in inputs], 0
    for action, parts in actions(node, inputs):
        with context.busy[action]:
            found = context.known(node, action)
            if found is None:
                started = time.perf_counter()
                value, origin, missing = apply(node, [context.whole(part) for part in parts], context.store)
                origin = worst([*origins, origin])
                if missing:
                    context.notes += missing
                if missing or not _stored(node):
                    found = context.hold(action, value, origin), origin
                else:
                    note = {"op": type(node.op).__name__, "seconds": round(time.perf_counter() - started, 4)}
                    found = context.store.put(action, value, origin, note), origin
            else:
                from_store += 1
        digests.append(found[0])
        origins.append(found[1])
        context.advance(1)
    return Result(tuple(digests), worst(origins), from_store)


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
    known = dict(given)
    for node in plan.work:
        if all(parent.recipe in known for parent in node.inputs):
            asked = actions(node, [known[p.recipe] for p in node.inputs])
            found = [store.get(a) if _stored(node) else None for a, _ in asked]
            if all(found):
                known[node.recipe] = Result(tuple(entry[0] for entry in found if entry))
    return {node.recipe: node.recipe in known for node in plan.work}


def _goes_in_blocks(node: Node, parent: Node) -> bool:
    """Whether `node` works on this input block by block: queries always, a corpus where rows stand alone."""
    if node.per_query:
        return parent.per_query
    return isinstance(node.op, Op) and node.op.row_wise


@contextmanager
def told(node: Node) -> Iterator[None]:
    """Say at which stage and in which class an error happened, in one line."""
    try:
        yield
    except EvalkitError:
        raise
    except Exception as error:
        raise EvalkitError(f"{node.stage} ({type(node.op).__name__}): {type(error).__name__}: {error}") from error


class Applied(NamedTuple):
    """What a node's work gave: its value, where that comes from, and what was missing of it."""

    value: Value
    origin: Origin
    missing: list[str]


def apply(node: Node, inputs: Sequence[Value], store: Store | None = None) -> Applied:
    """Work on one node's values.

    On the query side, ops that are not exact by row get one row a call, so that a query's result does not depend
    on what else was asked. A generator's answers, and the vectors of embedders that ask for it, go through the
    journal, if there is a store.
    """
    with told(node):
        op = node.op
        origin = cast("Origin", getattr(op, "origin", "measured"))
        if not isinstance(op, Op):
            return Applied(_generate(cast("Generator", op), cast("Prompts", inputs[0]), store), origin, [])
        if store is not None and getattr(op, "journalled", False):
            return Applied(_embed(node, cast("Chunks | Queries", inputs[0]), store), origin, [])
        missing: list[str] = []
        rows = [cast("Table", v) for v, n in zip(inputs, node.inputs, strict=True) if n.per_query]
        if not node.per_query or op.row_exact or len(rows[0]) <= 1:
            return Applied(_call(op, inputs, missing), origin, missing)
        single = []
        for i in range(len(rows[0])):
            row = [
                cast("Table", value).row(i) if parent.per_query else value
                for value, parent in zip(inputs, node.inputs, strict=True)
            ]
            single.append(cast("Table", _call(op, row, missing)))
        return Applied(type(single[0]).concat(single), origin, missing)


def _call(op: Op, inputs: Sequence[Value], missing: list[str]) -> Value:
    try:
        return op(*inputs)
    except Partial as partial:
        missing.append(f"{type(op).__name__}: {partial.note}")
        return partial.value


def _embed(node: Node, texts: Chunks | Queries, store: Store) -> Vectors:
    """Embed the texts that the journal does not have, a few a call; each call's vectors are kept at once."""
    op = cast("Op", node.op)
    side = "query" if isinstance(texts, Queries) else "passage"
    whose = fingerprint.digest(["embedding", op, packages_of(op), side])
    column = texts.text if isinstance(texts, Queries) else texts.searched
    keys = [hashlib.blake2b(f"{whose}{text}".encode(), digest_size=16).hexdigest() for text in column]
    step = 1 if node.per_query and not op.row_exact else getattr(op, "batch_size", _EMBEDDED_AT_ONCE)
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    with _embedding[whose]:
        entries = store.recall(list(first))
        found = {key: vector for key, entry in entries.items() if (vector := _journalled(entry)) is not None}
        todo = sorted(i for key, i in first.items() if key not in found)
        if not todo and not found:
            return cast("Vectors", op(texts))
        for start in range(0, len(todo), step):
            rows = todo[start : start + step]
            made = dict(zip((keys[i] for i in rows), cast("Vectors", op(texts.take(rows))).values, strict=True))
            store.record_all({k: {"float32": base64.b64encode(v.tobytes()).decode()} for k, v in made.items()})
            found.update(made)
    return Vectors(np.stack([found[key] for key in keys]))


def _journalled(entry: Mapping[str, Any]) -> Array | None:
    """Read a journal's vector; None for one that is not of length 1, and so is not what was written."""
    try:
        vector = np.frombuffer(base64.b64decode(entry["float32"]), np.float32)
    except (KeyError, TypeError, ValueError):
        return None
    return vector if abs(np.linalg.norm(vector) - 1) < 1e-3 else None


def _generate(generator: Generator, prompts: Prompts, store: Store | None) -> Answers:
    """Answer every distinct prompt once. After a failure no call is begun; those under way end and are kept."""
    rows = Prompt.rows(prompts)
    keys = [fingerprint.digest(["call", generator, packages_of(generator), prompt, 0]) for prompt in rows]
    limit, clock = asyncio.Semaphore(_GENERATING_AT_ONCE), WallClock()
    failed: list[BaseException] = []

    async def answer(key: Digest, prompt: Prompt) -> Answer | None:
        async with limit:
            if failed:
                return None
            try:
                made = await generator(prompt, 0, clock)
            except BaseException as error:
                failed.append(error)
                return None
        if store:
            store.record(key, {"text": made.text, "cited": list(made.cited)})
        return made

    async def answers(asked: Mapping[Digest, Prompt]) -> dict[Digest, Answer | None]:
        return dict(zip(asked, await asyncio.gather(*(answer(k, p) for k, p in asked.items())), strict=True))

    with _one_batch_at_a_time:
        known = store.recall(keys) if store else {}
        found = {key: Answer(entry["text"], tuple(entry["cited"])) for key, entry in known.items()}
        made = run_async(answers({k: p for k, p in zip(keys, rows, strict=True) if k not in known}))
    if failed:
        raise failed[0]
    found.update(cast("dict[Digest, Answer]", made))
    return Answer.table([found[key] for key in keys])
