"""What a plan will take, from what its ops took in the past."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evalkit.evaluate.nodes import Result
from evalkit.evaluate.plan import Plan
from evalkit.store import DiskStore
from evalkit.store.layout import read_entry
from evalkit.types import CORPUS, QUERY, Digest, Node


@dataclass(frozen=True)
class Costs:
    """Seconds that a block took, by the op's class: the median over all that a store holds.

    They are of the machines that filled the store, and of blocks as large as those were.
    """

    seconds: Mapping[str, float]

    @classmethod
    def of(cls, store: DiskStore) -> Costs:
        """Read what every stored result took to make."""
        taken: defaultdict[str, list[float]] = defaultdict(list)
        for _, path, _ in store.layout.actions():
            try:
                entry = read_entry(path)
            except FileNotFoundError:
                continue
            if entry is not None and isinstance(seconds := entry.note.get("seconds"), float | int):
                taken[entry.op].append(float(seconds))
        return cls({op: statistics.median(values) for op, values in taken.items()})

    def expected(self, nodes: Iterable[Node], given: Mapping[Digest, Result]) -> tuple[float, list[str]]:
        """Return the seconds that nodes will take one after another, and the classes of which nothing is known."""
        total, unknown = 0.0, set()
        for node in nodes:
            name = type(node.op).__name__
            if name in self.seconds:
                total += self.seconds[name] * blocks_of(node, given)
            else:
                unknown.add(name)
        return total, sorted(unknown)


def blocks_of(node: Node, given: Mapping[Digest, Result]) -> int:
    """Return how many blocks a node will work on, as far as is known beforehand: chunking sets no new blocks."""
    if node.per_query:
        return len(given[QUERY.recipe].blocks)
    return len(given[CORPUS.recipe].blocks) if getattr(node.op, "row_wise", False) else 1


def plan_blocks(plan: Plan, given: Mapping[Digest, Result]) -> int:
    """Return how many blocks all of a plan's work has."""
    return sum(blocks_of(node, given) for node in plan.work)
