"""The plan: which distinct nodes a set of systems needs, each worked on once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from evalkit import fingerprint
from evalkit.types import Digest, Node
from evalkit.values import Rankings


@dataclass(frozen=True)
class Cut:
    """The head of a deeper ranking, where that is exactly what a search for fewer would give."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "cut"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, rankings: Rankings) -> Rankings:
        """Cut every row."""
        return rankings.top(self.k)


@dataclass(frozen=True)
class Plan:
    """What has to be worked on for some systems.

    Parameters
    ----------
    nodes : {recipe: Node}
        All distinct nodes, inputs before what needs them.
    wanted : {label: {name: recipe}}
        Where each system's results are found.
    asked : int
        Nodes that the systems would need one by one, without sharing.
    """

    nodes: Mapping[Digest, Node]
    wanted: Mapping[str, Mapping[str, Digest]]
    asked: int

    @property
    def work(self) -> list[Node]:
        """The nodes that are work: all but the sources."""
        return [node for node in self.nodes.values() if not isinstance(node.op, str)]

    def only(self, labels: Iterable[str], names: Collection[str] | None = None) -> Plan:
        """Return what some of the systems need, or of that the results of some names, worked on as in this plan."""
        wanted = {
            label: {name: r for name, r in self.wanted[label].items() if names is None or name in names}
            for label in labels
        }
        ends = (self.nodes[end] for ends in wanted.values() for end in ends.values())
        return Plan(nodes_of(ends), wanted, self.asked)


def make_plan(targets: Mapping[str, Mapping[str, Node]]) -> Plan:
    """Merge equal nodes of all systems, and retrieve the deepest k once for all smaller ones.

    Parameters
    ----------
    targets : {label: {name: Node}}
        The results that are wanted of each system.
    """
    every: dict[Digest, Node] = {}
    asked = 0
    for ends in targets.values():
        own = nodes_of(ends.values())
        asked += sum(not isinstance(node.op, str) for node in own.values())
        every |= own
    deepen = _Deepener(every.values())
    final = {label: {name: deepen(end) for name, end in ends.items()} for label, ends in targets.items()}
    nodes = nodes_of(end for ends in final.values() for end in ends.values())
    wanted = {label: {name: node.recipe for name, node in ends.items()} for label, ends in final.items()}
    return Plan(nodes, wanted, asked)


def nodes_of(ends: Iterable[Node]) -> dict[Digest, Node]:
    """Return all nodes that some ends need, by recipe, inputs before what needs them."""
    found: dict[Digest, Node] = {}

    def visit(node: Node) -> None:
        if node.recipe not in found:
            for parent in node.inputs:
                visit(parent)
            found[node.recipe] = node

    for end in ends:
        visit(end)
    return found


class _Deepener:
    """Replaces searches that differ only in k by the deepest one and its heads.

    What is said of a ranking's entries one by one (the scores of a reranker) is said once of the deepest ranking.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._deepest: dict[Digest, int] = {}
        self._done: dict[Digest, Node] = {}
        for node in nodes:
            if _is_prefix(node):
                family, depth = self._family(node)
                self._deepest[family] = max(depth, self._deepest.get(family, 0))

    def __call__(self, node: Node) -> Node:
        if node.recipe not in self._done:
            self._done[node.recipe] = self._replace(node)
        return self._done[node.recipe]

    def _replace(self, node: Node) -> Node:
        inputs = [self(parent) for parent in node.inputs]
        if not _is_prefix(node):
            return Node(node.op, tuple(inputs))
        family, depth = self._family(node)
        if _entry_wise(node.op) and isinstance(inputs[-1].op, Cut):
            inputs[-1] = inputs[-1].inputs[0]
        deepest = self._deepest[family]
        op: Any = node.op
        found = Node(replace(op, k=deepest), tuple(inputs))
        return found if depth == deepest else Node(Cut(depth), (found,))

    def _family(self, node: Node) -> tuple[Digest, int]:
        """What a node gives the head of, and how long that head is."""
        op: Any = node.op
        rest = {name: value for name, value in fingerprint.identity(op).items() if name != "k"}
        inputs, depth = [parent.recipe for parent in node.inputs], op.k
        if _entry_wise(op) and _is_prefix(node.inputs[-1]):
            inputs[-1], above = self._family(node.inputs[-1])
            depth = min(depth, above)
        return fingerprint.digest([fingerprint.class_name(type(op)), op.version, rest, inputs]), depth


def _is_prefix(node: Node) -> bool:
    return getattr(node.op, "prefix_exact", False) is True  # as `Prefix` says; asked too often for a protocol


def _entry_wise(op: object) -> bool:
    return bool(getattr(op, "entry_wise", False))
