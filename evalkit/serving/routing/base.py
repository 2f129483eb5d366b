"""What decides by a question which way it takes, and what such a decision is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from evalkit.columns import Array, Strings
from evalkit.served import Request, Serving
from evalkit.types import CORPUS, QUERY, Node, Seam
from evalkit.values import Table

OWN = ""
"""The way of the service's own variant."""

Decide = Callable[[Request], Awaitable[str]]
Nodes = Mapping[Seam, Node]


@dataclass(frozen=True, eq=False)
class Routes(Table):
    """The route that each question takes, and what spoke for it.

    Parameters
    ----------
    name : Strings
        `OWN`, empty, where none was chosen.
    score : float64 array of shape (n,)
        In the unit of what decided.
    """

    name: Strings
    score: Array


class Rule(Protocol):
    """Decides by a question, or by who asks it, which route is taken: a value, as a spec writes it.

    Its decision depends on the question, its history, the user and the tenant, and on nothing that was asked before.

    Attributes
    ----------
    names : tuple of str
        What it may decide for, apart from `OWN`.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Routes that it may name."""

    def needs(self, nodes: Nodes) -> tuple[Node, ...]:
        """Return the nodes that it asks for, from the variant's own; what no question enters is made ready before."""

    def start(self, serving: Serving) -> Decide:
        """Return the rule at work, as one service asks it."""


def by_node(node: Node) -> Decide:
    """Return a rule whose decision is a node's value: work like any other, booked under its stage."""

    async def decide(request: Request) -> str:
        return cast("Routes", await request.get(node)).name[0]

    return decide


def question_vectors(nodes: Nodes) -> Node | None:
    """Return the node of the question's embedding in a variant's retriever, if it has one; of several the first."""
    return next((node for node in nodes["retrieve"].walk() if node.stage == "embed" and QUERY in node.inputs), None)


def asked_of(node: Node, texts: Node) -> Node:
    """Return what a node gives for other texts in the question's place."""
    if node == QUERY:
        return texts
    if node == CORPUS or not node.per_query:
        return node
    return Node(node.op, tuple(asked_of(parent, texts) for parent in node.inputs))
