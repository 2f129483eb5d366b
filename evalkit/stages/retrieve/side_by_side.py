"""Retrieval strategies at work at the same time, any of which may fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

from evalkit.columns import Array
from evalkit.errors import EvalkitError, InputError
from evalkit.stages.retrieve.attempts import Attempt, Step, Strategy
from evalkit.stages.retrieve.bm25 import BM25
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.retrieve.fusing import check_weights, equal, fuse
from evalkit.stages.retrieve.fusion import RRF, Fusion
from evalkit.types import Node, Op, Partial, Retriever
from evalkit.values import Queries, Rankings, Value


@dataclass(frozen=True)
class SearchSideBySide:
    """Ask every strategy at once, each in a thread of its own, and fuse what they find.

    Its packages are those of all steps, and it is stored if all of them are.
    """

    strategies: tuple[Strategy, ...]
    fusion: Fusion
    weights: tuple[float, ...]
    timeout: float | None
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    @property
    def packages(self) -> tuple[str, ...]:
        """What the steps' results depend on."""
        return tuple(sorted({name for op in self._ops() for name in getattr(op, "packages", ())}))

    @property
    def stored(self) -> bool:
        """Whether every step says when its results change."""
        return all(getattr(op, "stored", True) for op in self._ops())

    def _ops(self) -> Iterator[Op]:
        return (step.op for strategy in self.strategies for step in strategy.steps)

    def __call__(self, queries: Queries, *ready: Value) -> Rankings:
        """Ask one query after the other.

        Raises
        ------
        Partial
            If a strategy failed, with the fused rest.
        EvalkitError
            If all of them did.
        """
        notes: list[str] = []
        fused = [self._ask(queries.row(i), ready, notes) for i in range(len(queries))]
        found = Rankings.of([items for items, _ in fused], [scores for _, scores in fused])
        if notes:
            raise Partial(found, "; ".join(dict.fromkeys(notes)))
        return found

    def _ask(self, query: Queries, ready: Sequence[Value], notes: list[str]) -> tuple[Array, Array]:
        attempts = [Attempt(strategy, (query, *ready)) for strategy in self.strategies]
        for attempt in attempts:
            attempt.wait(self.timeout)
        if all(attempt.failure for attempt in attempts):
            reasons = "; ".join(f"{a.strategy.name}: {a.failure}" for a in attempts)
            raise EvalkitError(f"SideBySide: every strategy failed for the query {query.text[0]!r}: {reasons}")
        for attempt in attempts:
            notes += [f"{attempt.strategy.name} failed: {attempt.failure}"] if attempt.failure else attempt.notes
        tables = [attempt.ranking for attempt in attempts]
        items, scores = [table.items[0] for table in tables], [table.scores[0] for table in tables]
        return fuse(self.fusion, self.weights, items, scores, self.k)


@dataclass(frozen=True)
class SideBySide:
    """Several retrievers at work at the same time, their rankings fused; one that fails is survived.

    What a retriever needs of the corpus is prepared as ever, and shared; its work on the query is part of one step
    here, since it runs in a thread of its own, and is not shared with other systems. A result without all strategies
    is used, told of and not stored. If all fail, that is an error.

    Parameters
    ----------
    retrievers : tuple of Retriever
        Their own ``k`` is the depth that enters the fusion.
    fusion : Fusion
    weights : tuple of float
        One a retriever; none stands for equal ones.
    timeout : float or None
        Seconds after which a strategy that has not answered counts as failed. It is left to itself: threads cannot
        be stopped, but none keeps the process from ending, and a strategy that leaves eight queries behind is not
        asked again until it has answered one.
    k : int
        Chunks returned.
    """

    retrievers: tuple[Retriever, ...] = field(default_factory=lambda: (Dense(k=50), BM25(k=50)))
    fusion: Fusion = field(default_factory=RRF)
    weights: tuple[float, ...] = ()
    timeout: float | None = None
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)
        object.__setattr__(self, "retrievers", tuple(self.retrievers))
        object.__setattr__(self, "weights", tuple(self.weights))
        if not self.retrievers:
            raise InputError("SideBySide: no retrievers; give at least one")
        check_weights(self, self.weights, len(self.retrievers))
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"SideBySide: timeout is {self.timeout}; give seconds above 0, or nothing")

    def expand(self, chunks: Node, query: Node) -> Node:
        """Expand every retriever; its nodes on the corpus side stay nodes, the others become steps of one op."""
        walks = [_walk(retriever.expand(chunks, query), query) for retriever in self.retrievers]
        given = list(dict.fromkeys([query, *(node for ready, _ in walks for node in ready)]))
        strategies = tuple(
            Strategy(name, _steps(worked, given)) for name, (_, worked) in zip(self._names(), walks, strict=True)
        )
        weights = tuple(map(float, self.weights)) or equal(len(self.retrievers))
        timeout = None if self.timeout is None else float(self.timeout)
        return Node(SearchSideBySide(strategies, self.fusion, weights, timeout, self.k), tuple(given))

    def _names(self) -> list[str]:
        """Names for people: the class, or what the retriever calls itself, numbered where there are several."""
        names = [str(getattr(r, "name", None) or type(r).__name__) for r in self.retrievers]
        seen: Counter[str] = Counter()
        counts = Counter(names)
        numbered = []
        for name in names:
            seen[name] += 1
            numbered.append(name if counts[name] == 1 else f"{name} {seen[name]}")
        return numbered


def _walk(top: Node, query: Node) -> tuple[list[Node], list[Node]]:
    """Return what stands ready for the work on a query, and the nodes of that work, inputs first."""
    ready: dict[Node, None] = {}
    worked: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node in ready or node in worked or node == query:
            return
        if not node.per_query:
            ready[node] = None
            return
        for parent in node.inputs:
            visit(parent)
        worked[node] = None

    visit(top)
    return list(ready), list(worked)


def _steps(worked: Sequence[Node], given: Sequence[Node]) -> tuple[Step, ...]:
    places = {node: i for i, node in enumerate([*given, *worked])}
    for node in worked:
        if not isinstance(node.op, Op):
            raise InputError(f"SideBySide: {type(node.op).__name__} is asynchronous; only plain ops run side by side")
    return tuple(Step(cast("Op", node.op), tuple(places[parent] for parent in node.inputs)) for node in worked)
