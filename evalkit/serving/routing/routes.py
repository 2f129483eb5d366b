"""Where a route leads: another model, another pipeline, or a path that retrieves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from evalkit.columns import Ragged
from evalkit.errors import InputError
from evalkit.serving.routing.base import OWN
from evalkit.types import QUERY, Generator, Node
from evalkit.values import Prompts, Queries
from evalkit.variants import Variant


@dataclass(frozen=True)
class AskAlone:
    """Make prompts of the questions alone: no passage, the history as it is."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, queries: Queries) -> Prompts:
        """Make one prompt a question."""
        nothing: list[list[str]] = [[]] * len(queries)
        empty = Ragged.of(nothing)
        return Prompts(queries.text, empty, empty, empty, queries.history)


@dataclass(frozen=True)
class Direct:
    """A path that retrieves nothing: the model is asked with the question and its history alone.

    Parameters
    ----------
    generate : Generator or None
        None: the model that would have answered.
    """

    generate: Generator | None = None


@dataclass(frozen=True)
class Route:
    """Where a name leads.

    Parameters
    ----------
    name : str
        As the rule says it.
    to : Direct, Variant or Generator
        A generator answers in the place of the one that would have, from the same prompt. A variant answers with a
        pipeline of its own: what it shares with the service's is worked on once, and layers at ``retrieve`` and
        ``prompt`` are around the service's own seams only, not around those of a variant that has others. Layers at
        ``embed`` and ``generate`` are around all of them.
    """

    name: str
    to: Direct | Variant | Generator = field(default_factory=Direct)

    def __post_init__(self) -> None:
        if self.name == OWN:
            raise InputError("Route: no name; questions without a route go the service's own way")

    def node(self, before: Node) -> Node:
        """Return the node of the answer, from the one that would have been asked for it."""
        if isinstance(self.to, Variant):
            return self.to.nodes()["answer"]
        if isinstance(self.to, Direct):
            op = before.op if self.to.generate is None else self.to.generate
            return Node(op, (Node(AskAlone(), (QUERY,)),))
        return Node(self.to, before.inputs)
