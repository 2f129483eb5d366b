"""Fusing rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.similarity import best_first
from evalkit.values import Rankings


@dataclass(frozen=True)
class ReciprocalRankFusion:
    """Fuse two rankings: ``alpha / (c + rank in the first) + (1 - alpha) / (c + rank in the second)``."""

    alpha: float
    c: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, first: Rankings, second: Rankings) -> Rankings:
        """Fuse row by row; an item missing from one ranking gets nothing from it."""
        fused = [self._fuse(a, b) for a, b in zip(first.items, second.items, strict=True)]
        return Rankings.of([items for items, _ in fused], [scores for _, scores in fused])

    def _fuse(self, first: Array, second: Array) -> tuple[Array, Array]:
        items, where = np.unique(np.concatenate([first, second]), return_inverse=True)
        scores = np.zeros(len(items))
        for weight, ranked in ((self.alpha, where[: len(first)]), (1 - self.alpha, where[len(first) :])):
            scores[ranked] += weight / (self.c + np.arange(1, len(ranked) + 1))
        found = np.flatnonzero(scores > 0)  # at alpha 0 or 1 the other side's items are not results
        best = found[best_first(scores[found], items[found], self.k)]
        return items[best], scores[best]
