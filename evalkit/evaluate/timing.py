"""Timing, apart from quality: one request at a time, alone in the process, systems interleaved at random.

What a paid, recorded or modelled generator takes is what its calls state; they are not made again for the clock.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np

from evalkit import fingerprint
from evalkit.columns import Array, Ragged, Strings
from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.evaluate.apply import apply, worst
from evalkit.evaluate.nodes import Context, Result, query_order
from evalkit.evaluate.plan import nodes_of
from evalkit.machine import machine, versions
from evalkit.memo import forgotten
from evalkit.types import QUERY, Digest, Node, Op, Origin
from evalkit.values import Answers, Queries, Table, Value
from evalkit.variants import Variant

CONTROL = "control (A/A)"
"""The base, timed a second time as if it were another system: what a difference of nothing looks like here."""

_PROTOCOL = 2


@dataclass(frozen=True)
class Timing:
    """How latency is measured.

    Parameters
    ----------
    queries : int
        Queries timed, the first ones in the seeded order; all of them where there are fewer.
    repeats : int
        Times that each is asked, of each system.
    warmup : int
        Requests to each system before the clock counts.
    """

    queries: int = 30
    repeats: int = 1
    warmup: int = 2

    def __post_init__(self) -> None:
        if self.queries < 1 or self.repeats < 1 or self.warmup < 0:
            raise InputError("Timing: queries and repeats must be at least 1, and warmup at least 0")


@dataclass(frozen=True, eq=False)
class Samples(Table):
    """Time taken by requests, in nanoseconds: from end to end, and by stage.

    `called` is when the model was called, `pieces` when each streamed piece of its answer came, both from the
    request's start; `first_text` is the index of the first piece of answer text. Nothing streamed: no pieces.
    """

    query: Strings
    total: Array
    stages: Ragged[Strings]
    spent: Ragged[Array]
    called: Array
    pieces: Ragged[Array]
    first_text: Array


class Taken(NamedTuple):
    """One request's nanoseconds, as in `Samples`."""

    total: int
    stages: Sequence[tuple[str, int]]
    called: int = 0
    pieces: Sequence[int] = ()
    first_text: int = 0


def corpus_nodes(variant: Variant) -> list[Node]:
    """Return the nodes that stand ready before the first request: those that no query enters."""
    return [node for node in nodes_of(variant.nodes().values()).values() if not node.per_query]


def measure(
    variants: Mapping[str, Variant],
    base: str,
    data: Dataset,
    done: Mapping[Digest, Result],
    context: Context,
    timing: Timing,
    *,
    seed: int,
    retime: bool = False,
    advance: Callable[[int], None] = lambda requests: None,
    answered: Mapping[str, Mapping[str, Answers]] | None = None,
) -> dict[str, Samples]:
    """Time every variant, and the base once more as a control.

    Samples that the same systems gave together before, on this machine, with these packages and this protocol, are
    read back unless `retime`, or a cassette says what calls take.

    Parameters
    ----------
    variants : {label: Variant}
    base : str
        Label of the base.
    data : Dataset
    done : {recipe: Result}
        Must hold every node of `corpus_nodes`.
    context : Context
    timing : Timing
    seed : int
        Of the sample of queries and of the order of requests.
    retime : bool
    advance : function
        Told of every request.
    answered : {label: {query: Answers}}, optional
        One row each: what generators whose calls state their time have answered; what is not here is asked for.

    Returns
    -------
    {label: Samples}
        With one more entry, `CONTROL`.
    """
    asked = query_order(data, seed)[: timing.queries]
    rows = {name: i for i, name in enumerate(data.queries.id)}
    questions = [data.queries.row(rows[name]) for name in asked]
    systems = {**variants, CONTROL: variants[base]}
    # Only samples taken together can be compared, so the whole set of systems is part of each one's key.
    together = [variants[base].fingerprint, sorted(variant.fingerprint for variant in variants.values())]
    actions = {
        label: _action(variant, [label == CONTROL, together], done, [q.digest for q in questions], timing, seed)
        for label, variant in systems.items()
    }
    recorded = hasattr(context.store, "cassette")  # samples hold what the calls took, and are the cassette's
    found = {label: None if retime or recorded else context.store.get(action) for label, action in actions.items()}
    stored = {label: context.store.load(entry[0]) for label, entry in found.items() if entry is not None}
    if len(stored) == len(systems):
        return {label: _as_samples(value) for label, value in stored.items()}
    own = dict(answered or {})
    if base in own:
        own[CONTROL] = own[base]
    taken = _take(systems, questions, done, context, timing, seed, advance, own)
    for label, table in taken.items() if not recorded else ():
        origin = origins(systems[label]).get("total", "measured")
        context.store.put(actions[label], table, origin, {"op": "timing"})
    return taken


def _action(
    variant: Variant,
    together: list[Any],
    done: Mapping[Digest, Result],
    questions: list[Digest],
    timing: Timing,
    seed: int,
) -> Digest:
    corpus = [done[node.recipe].blocks for node in corpus_nodes(variant)]
    threads = os.environ.get("OMP_NUM_THREADS", "")
    where = [machine(), versions(), threads, _PROTOCOL]
    return fingerprint.digest(["timing", variant.fingerprint, together, corpus, questions, timing, seed, where])


def _as_samples(value: Value) -> Samples:
    assert isinstance(value, Samples)  # noqa: S101 - the action's key says so
    return value


def _take(
    systems: Mapping[str, Variant],
    questions: Sequence[Table],
    done: Mapping[Digest, Result],
    context: Context,
    timing: Timing,
    seed: int,
    advance: Callable[[int], None],
    answered: Mapping[str, Mapping[str, Answers]],
) -> dict[str, Samples]:
    ready = {
        node.recipe: context.whole(done[node.recipe].blocks)
        for variant in systems.values()
        for node in corpus_nodes(variant)
    }
    order = {
        label: [n for n in variant.nodes()["answer"].walk() if n.per_query and n.op != "query"]
        for label, variant in systems.items()
    }
    with forgotten():
        for label in systems:
            for question in questions[: timing.warmup]:
                request(order[label], question, ready, context, answered.get(label, {}))
                advance(1)
        visits = [(label, i) for label in systems for i in range(len(questions)) for _ in range(timing.repeats)]
        random.Random(seed).shuffle(visits)  # noqa: S311 - an order of visits, no secret
        taken: dict[str, list[tuple[int, Taken]]] = {label: [] for label in systems}
        for label, i in visits:
            taken[label].append((i, request(order[label], questions[i], ready, context, answered.get(label, {}))))
            advance(1)
    names = [str(question.id[0]) for question in questions]  # type: ignore[attr-defined]
    return {label: _samples(names, sorted(rows, key=lambda row: row[0])) for label, rows in taken.items()}


def request(
    order: Sequence[Node],
    question: Table,
    ready: Mapping[Digest, Value],
    context: Context | None = None,
    answered: Mapping[str, Answers] = MappingProxyType({}),
) -> Taken:
    """Answer one question with nothing remembered, and return what it took, in all and by stage.

    The total is taken around the whole request, so that what the stages leave out would show. A call that costs
    money is not made again for the clock's sake, and a modelled one takes no time here: for both, the time that the
    answer's own call states stands in the place of what passed.
    """
    values: dict[Digest, Value] = {**ready, QUERY.recipe: question}
    spent: dict[str, int] = {}
    stated, called, call = 0, 0, None
    start = time.perf_counter_ns()
    for node in order:
        before = time.perf_counter_ns()
        inputs = [values[parent.recipe] for parent in node.inputs]
        if context is not None and states_its_time(node.op):
            known = answered.get(cast("Queries", question).id[0])
            value = known or apply(node, inputs, context.store, context.stop.is_set, context.spending).value
            call = cast("Answers", value).made()[0]
        else:
            value = apply(node, inputs).value
        values[node.recipe] = value
        took = time.perf_counter_ns() - before
        if call is not None and isinstance(value, Answers):
            called = before - start + stated
            stated += round(call.seconds * 1e9) - took
            took = round(call.seconds * 1e9)
        spent[node.stage] = spent.get(node.stage, 0) + took
    total = time.perf_counter_ns() - start + stated
    if call is None:
        return Taken(total, list(spent.items()))
    pieces = [called + round(at * 1e9) for at in call.pieces]
    return Taken(total, list(spent.items()), called, pieces, call.first_text)


def states_its_time(op: object) -> bool:
    """Whether a generator's time is what its calls say: they are paid for, recorded or modelled."""
    return not isinstance(op, Op | str) and (
        bool(getattr(op, "paid", False)) or getattr(op, "origin", "measured") != "measured"
    )


def origins(variant: Variant) -> dict[str, Origin]:
    """Return where the times of a variant's stages come from, where they are not measured here; "total" is all."""
    generator = variant.generate
    if not states_its_time(generator):
        return {}
    own: Origin = getattr(generator, "origin", "measured")
    found = worst(["replayed", own])
    return {generator.stage: found, "total": found}


def _samples(names: Sequence[str], rows: Sequence[tuple[int, Taken]]) -> Samples:
    return Samples(
        Strings.of(names[i] for i, _ in rows),
        np.array([taken.total for _, taken in rows], dtype=np.int64),
        Ragged.of([[stage for stage, _ in taken.stages] for _, taken in rows]),
        Ragged.of([[ns for _, ns in taken.stages] for _, taken in rows], np.int64),
        np.array([taken.called for _, taken in rows], dtype=np.int64),
        Ragged.of([list(taken.pieces) for _, taken in rows], np.int64),
        np.array([taken.first_text for _, taken in rows], dtype=np.int64),
    )
