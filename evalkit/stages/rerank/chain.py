"""Rerankers one behind the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from evalkit.errors import InputError
from evalkit.forms import conforms
from evalkit.stages.rerank.mmr import MMR
from evalkit.stages.rerank.redundancy import RedundancyFilter
from evalkit.types import Node, Reranker


@dataclass(frozen=True)
class Chain:
    """Each reranker orders what the one before it left.

    Parameters
    ----------
    steps : tuple of Reranker
        Cheap ones first: what they drop costs the later ones nothing. Without any, the ranking stays as it is.
    """

    steps: tuple[Reranker, ...] = field(default_factory=lambda: (RedundancyFilter(), MMR()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        for step in self.steps:
            if not conforms(step, Reranker):
                raise InputError(f"Chain: {type(step).__name__} is no reranker; a step takes a ranking and gives one")

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Expand every step over the ranking of the one before."""
        for step in self.steps:
            ranking = step.expand(chunks, query, ranking)
        return ranking
