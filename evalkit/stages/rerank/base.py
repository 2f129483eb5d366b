"""What rerankers share: how deep they look, and how scores become a ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from evalkit.errors import InputError
from evalkit.similarity import best_first
from evalkit.stages.retrieve.checks import check_k
from evalkit.values import Rankings

LONGEST = int(np.iinfo(np.int32).max)
"""No ranking is longer: positions are int32."""


def at_most(number: int | None) -> int:
    """Return `number`; where it is None, one that no ranking reaches."""
    return LONGEST if number is None else number


def check_depth(owner: object, k: int | None, depth: int | None) -> None:
    """Refuse a `k` below 1, and a depth that is less than `k`; None is all."""
    if k is not None:
        check_k(owner, k)
    if depth is not None and depth < (k or 1):
        raise InputError(
            f"{type(owner).__name__}: depth {depth} and k {k} do not fit; depth is at least 1 and at least k, "
            "or None for all"
        )


@dataclass(frozen=True)
class TakeFirst:
    """The first `k` entries of every ranking, as they are."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, rankings: Rankings) -> Rankings:
        """Cut every row."""
        return rankings.top(self.k)


@dataclass(frozen=True)
class BestFirst:
    """Order chunks by the scores that a reranker gave them, and keep the best `k`."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, scored: Rankings) -> Rankings:
        """Order every row: score descending, then position."""
        rows = list(zip(scored.items, scored.scores, strict=True))
        best = [best_first(scores, items, self.k) for items, scores in rows]
        return Rankings.of(
            [items[order] for (items, _), order in zip(rows, best, strict=True)],
            [scores[order] for (_, scores), order in zip(rows, best, strict=True)],
        )
