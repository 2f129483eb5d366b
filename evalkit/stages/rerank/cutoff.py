"""Fewer chunks, in the same order."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.stages.rerank.base import TakeFirst
from evalkit.stages.retrieve.checks import check_k
from evalkit.types import Node


@dataclass(frozen=True)
class Cutoff:
    """The first `k` chunks of the ranking: behind a reranker that only drops some, or as a baseline beside others.

    Parameters
    ----------
    k : int
        Chunks kept.
    """

    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Cut."""
        return Node(TakeFirst(self.k), (ranking,))
