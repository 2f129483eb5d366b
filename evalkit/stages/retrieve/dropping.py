"""Dropping entries of rankings: what is too far, and what a filter does not let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from evalkit.columns import Array, Ragged
from evalkit.stages.subset import Positions
from evalkit.values import Rankings


def only(rankings: Rankings, wanted: Array) -> Rankings:
    """Return rankings without the entries where `wanted`, one bool an entry, is false."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(wanted, dtype=np.int64)])
    offsets = before[rankings.items.offsets]
    return Rankings(Ragged(rankings.items.values[wanted], offsets), Ragged(rankings.scores.values[wanted], offsets))


@dataclass(frozen=True)
class AtLeast:
    """Drop what scores below a floor; a score equal to it stays."""

    floor: float

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "filter"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, rankings: Rankings) -> Rankings:
        """Drop in every row."""
        return only(rankings, rankings.scores.values >= self.floor)


@dataclass(frozen=True)
class Among:
    """Drop what is not among the kept positions, then all but the first `k`."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "filter"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, rankings: Rankings, kept: Positions) -> Rankings:
        """Drop in every row."""
        return only(rankings, np.isin(rankings.items.values, kept.values)).top(self.k)
