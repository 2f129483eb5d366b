"""The plan: which distinct nodes a set of systems needs, each worked on once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from evalkit import fingerprint
from evalkit.types import Digest, Node, Prefix
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


def make_plan(targets: Mapping[str, Mapping[str, Node]]) -> Plan:
    """Merge equal nodes of all systems, and retrieve the deepest k once for all smaller ones.

    Parameters
    ----------
    targets : {label: {name: Node}}
        The results that are wanted of each system.
    """
    asked = sum(
        len({n.recipe for end in ends.values() for n in end.walk() if not isinstance(n.op, str)})
        for ends in targets.values()
    )
    deepen = _Deepener(node for ends in targets.values() for end in ends.values() for node in end.walk())
    final = {label: {name: deepen(end) for name, end in ends.items()} for label, ends in targets.items()}
    nodes = {n.recipe: n for ends in final.values() for end in ends.values() for n in end.walk()}
    wanted = {label: {name: node.recipe for name, node in ends.items()} for label, ends in final.items()}
    return Plan(nodes, wanted, asked)


class _Deepener:
    """Replaces searches that differ only in k by the deepest one and its heads."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._deepest: dict[Digest, int] = {}
        self._done: dict[Digest, Node] = {}
        for node in nodes:
            op: object = node.op
            if isinstance(op, Prefix):
                family = self._family(op, node)
                self._deepest[family] = max(op.k, self._deepest.get(family, 0))

    def __call__(self, node: Node) -> Node:
        if node.recipe not in self._done:
            self._done[node.recipe] = self._replace(node)
        return self._done[node.recipe]

    def _replace(self, node: Node) -> Node:
        inputs = tuple(self(parent) for parent in node.inputs)
        op: Any = node.op
        if not isinstance(op, Prefix):
            return Node(op, inputs)
        deepest = self._deepest[self._family(op, node)]
        found = Node(replace(node.op, k=deepest), inputs)  # type: ignore[type-var]
        return found if op.k == deepest else Node(Cut(op.k), (found,))

    @staticmethod
    def _family(op: Any, node: Node) -> Digest:
        rest = {name: value for name, value in fingerprint.identity(op).items() if name != "k"}
        inputs = [parent.recipe for parent in node.inputs]
        return fingerprint.digest([fingerprint.class_name(type(op)), op.version, rest, inputs])
