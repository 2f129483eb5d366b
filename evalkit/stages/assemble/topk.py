"""Assemblers: from a ranking to the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.types import Node
from evalkit.values import Chunks, Prompts, Queries, Rankings


@dataclass(frozen=True)
class TakeTop:
    """Put the first `k` chunks into the prompt, best first; all of them where `k` is None."""

    k: int | None

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> Prompts:
        """Assemble one prompt a query."""
        kept = rankings if self.k is None else rankings.top(self.k)
        rows = np.asarray(kept.items.values, dtype=np.int64)
        used = chunks.take(rows)
        offsets = kept.items.offsets
        return Prompts(
            Strings.of(queries.text),
            Ragged(used.title, offsets),
            Ragged(used.text, offsets),
            Ragged(used.document, offsets),
            queries.history,
        )


@dataclass(frozen=True)
class TopK:
    """The first `k` chunks of the ranking, whole, best first.

    Parameters
    ----------
    k : int or None
        At most this many; None takes all that were retrieved.
    """

    k: int | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise InputError(f"TopK: k is {self.k}; it must be at least 1, or None for all")

    def expand(self, chunks: Node, query: Node, found: Node) -> Node:
        """Return the node that makes prompts."""
        return Node(TakeTop(self.k), (chunks, query, found))
