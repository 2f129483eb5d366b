"""Working on one node's values, and the journal of single calls beneath it: answers, vectors, scores of pairs."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from evalkit import fingerprint
from evalkit.columns import Array, Ragged
from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.calling.answering import answer_all
from evalkit.evaluate.calling.caller import Asked, Caller, Ended
from evalkit.evaluate.calling.journal import Calls, calls_of
from evalkit.evaluate.calling.spending import OverBudget, Spending
from evalkit.llm.tokens import at_most_tokens
from evalkit.machine import packages_of
from evalkit.types import Digest, Generator, Node, Op, Origin, PairScorer, Partial, Store
from evalkit.values import Answer, Chunks, Prompt, Prompts, Queries, Rankings, Table, Value, Vectors

_EMBEDDED_AT_ONCE = 64
_working: defaultdict[Digest, threading.Lock] = defaultdict(threading.Lock)  # other batches share texts and pairs
_RANK: dict[Origin, int] = {"measured": 0, "replayed": 1, "modelled": 2}
T = TypeVar("T")


class Applied(NamedTuple):
    """What a node's work gave: its value, where that comes from, and what was missing of it."""

    value: Value
    origin: Origin
    missing: list[str]


def worst(origins: Sequence[Origin]) -> Origin:
    """Return the origin of a number made from others: a total with a modelled part is modelled."""
    return max(origins, key=_RANK.__getitem__, default="measured")


def _seen(calls: Calls, origin: Origin) -> Origin:
    """What comes out of a cassette was not measured here."""
    return worst([origin, "replayed"]) if calls.replayed else origin


@contextmanager
def told(node: Node) -> Iterator[None]:
    """Say at which stage and in which class an error happened, in one line."""
    try:
        yield
    except (EvalkitError, Ended):
        raise
    except Exception as error:
        raise EvalkitError(f"{node.stage} ({type(node.op).__name__}): {type(error).__name__}: {error}") from error


def apply(
    node: Node,
    inputs: Sequence[Value],
    store: Store | None = None,
    ended: Callable[[], bool] = lambda: False,
    spending: Spending | None = None,
) -> Applied:
    """Work on one node's values.

    On the query side, ops that are not exact by row get one row a call, so that a query's result does not depend
    on what else was asked. A generator's answers, and what ops ask to have journalled, go through the journal, if
    there is a store. Between two calls of a model it is asked whether the run has `ended`; what was called for is
    kept then.

    Raises
    ------
    EvalkitError
        If the op fails.
    Ended
        If the run has ended before all was done.
    """
    with told(node):
        op = node.op
        origin = cast("Origin", getattr(op, "origin", "measured"))
        if not isinstance(op, Op):
            gaps: list[str] = []
            caller = Caller(cast("Generator", op), store, spending, ended)
            answers = answer_all(caller, [Asked(p, 0) for p in Prompt.rows(cast("Prompts", inputs[0]))], gaps)
            return Applied(Answer.table(answers), _seen(caller.journal, origin), gaps)
        if store is not None and getattr(op, "journalled", False):
            if isinstance(op, PairScorer):
                return Applied(_score(op, inputs, Calls(store), ended), origin, [])
            calls = calls_of(store) if getattr(op, "paid", False) else Calls(store)
            vectors = _embed(node, cast("Chunks | Queries", inputs[0]), calls, ended, spending)
            return Applied(vectors, _seen(calls, origin), [])
        missing: list[str] = []
        rows = [cast("Table", v) for v, n in zip(inputs, node.inputs, strict=True) if n.per_query]
        if not node.per_query or op.row_exact or len(rows[0]) <= 1:
            return Applied(_call(op, inputs, missing), origin, missing)
        single = []
        for i in range(len(rows[0])):
            if ended():
                raise Ended
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


def _embed(
    node: Node, texts: Chunks | Queries, calls: Calls, ended: Callable[[], bool], spending: Spending | None
) -> Vectors:
    """Embed the texts that the journal does not have. What was paid for is written down with its text."""
    op = cast("Op", node.op)
    paid = bool(getattr(op, "paid", False))
    side = "query" if isinstance(texts, Queries) else "passage"
    whose = fingerprint.digest(["embedding", op, packages_of(op), side])
    column = texts.text if isinstance(texts, Queries) else texts.searched
    keys = [hashlib.blake2b(f"{whose}{text}".encode(), digest_size=16).hexdigest() for text in column]
    step = 1 if node.per_query and not op.row_exact else getattr(op, "batch_size", _EMBEDDED_AT_ONCE)
    what = {"embedder": fingerprint.canonical(op), "side": side} if paid else {}

    def embed(rows: list[int]) -> list[Array]:
        for row in rows if paid else ():
            calls.before(keys[row], {**what, "text": column[row]})
        with _room(op, [column[i] for i in rows], spending if paid else None):
            return list(cast("Vectors", op(texts.take(rows))).values)

    def entry(row: int, vector: Array) -> dict[str, Any]:
        packed = base64.b64encode(vector.tobytes()).decode()
        return {"float32": packed, **what, **({"text": column[row]} if paid else {})}

    if not keys:
        return cast("Vectors", op(texts))
    vectors: list[Array] = _each_once(whose, keys, step, embed, entry, _as_vector, calls, ended)
    return Vectors(np.stack(vectors))


@contextmanager
def _room(op: Op, texts: Sequence[str], spending: Spending | None) -> Iterator[None]:
    """Set aside what embedding texts can cost at most, and count it as spent: an op does not say what it used."""
    model = str(getattr(op, "model", ""))
    if spending is None or not spending.prices.knows(model):
        if spending is not None and spending.limit is not None:
            raise InputError(
                f"{type(op).__name__}: no price for model '{model}'; name a file with it in EVALKIT_PRICES"
            )
        yield
        return
    bound = spending.prices.at_most(model, sum(map(at_most_tokens, texts)), 0)
    try:
        with spending.room_now(bound):
            yield
            spending.add_at_most(bound)
    except OverBudget:
        raise Ended from None


def _as_vector(entry: Mapping[str, Any]) -> Array | None:
    """Read a journal's vector; None for one that is not of length 1, and so is not what was written."""
    try:
        vector = np.frombuffer(base64.b64decode(entry["float32"]), np.float32)
    except (KeyError, TypeError, ValueError):
        return None
    return vector if abs(np.linalg.norm(vector) - 1) < 1e-3 else None


def _score(op: PairScorer, inputs: Sequence[Value], calls: Calls, ended: Callable[[], bool]) -> Rankings:
    """Score the pairs that the journal does not have, whatever ranking and depth they were scored in."""
    chunks, queries, rankings = cast("tuple[Chunks, Queries, Rankings]", tuple(inputs))
    pairs = op.pairs(chunks, queries, rankings)
    known = {name: value for name, value in fingerprint.identity(op).items() if name != "k"}
    whose = fingerprint.digest(["pair", fingerprint.class_name(type(op)), op.version, known, packages_of(op)])
    keys = [hashlib.blake2b(f"{whose}{q}\0{passage}".encode(), digest_size=16).hexdigest() for q, passage in pairs]

    def score(rows: list[int]) -> list[float]:
        return [float(one) for one in op.score([pairs[i] for i in rows])]

    def entry(row: int, one: float) -> dict[str, Any]:
        return {"score": one}

    scores = _each_once(whose, keys, _EMBEDDED_AT_ONCE, score, entry, _as_score, calls, ended)
    items = rankings.top(op.k).items
    return Rankings(items, Ragged(np.array(scores, dtype=np.float64), items.offsets))


def _as_score(entry: Mapping[str, Any]) -> float | None:
    score = entry.get("score")
    return score if isinstance(score, float) else None


def _each_once(
    whose: Digest,
    keys: Sequence[Digest],
    step: int,
    work: Callable[[list[int]], Sequence[T]],
    write: Callable[[int, T], Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], T | None],
    calls: Calls,
    ended: Callable[[], bool],
) -> list[T]:
    """Return what belongs to each key: from the journal, or worked on, `step` rows a call, each call kept at once."""
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    with _working[whose]:
        entries = calls.recall(list(first))
        found = {key: value for key, entry in entries.items() if (value := read(entry)) is not None}
        todo = sorted(i for key, i in first.items() if key not in found)
        for start in range(0, len(todo), step):
            if ended():
                raise Ended
            rows = todo[start : start + step]
            made = dict(zip(rows, work(rows), strict=True))
            calls.record_all({keys[i]: write(i, value) for i, value in made.items()})
            found.update({keys[i]: value for i, value in made.items()})
    return [found[key] for key in keys]
