"""Fusing rankings: each item's shares from all of them, added up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.similarity import best_first
from evalkit.stages.retrieve.fusion import Fusion
from evalkit.values import Rankings, Table


@dataclass(frozen=True, eq=False)
class Weights(Table):
    """A weight from 0 to 1 for every query: float64 of shape (n,)."""

    values: Array


def fuse(
    fusion: Fusion, weights: Sequence[float], items: Sequence[Array], scores: Sequence[Array], k: int
) -> tuple[Array, Array]:
    """Fuse one query's rankings.

    What an item receives is added up from the smallest share on, so that the order of rankings never breaks a tie.

    Parameters
    ----------
    fusion : Fusion
    weights : sequence of float
        One a ranking. What has the weight 0 is not there: its items are no results.
    items, scores : sequence of array
        Of each ranking, best first.
    k : int
        Entries returned.

    Returns
    -------
    (items, scores)
        Best first: score descending, then item ascending.
    """
    voices = [i for i, weight in enumerate(weights) if weight > 0 and len(items[i])]
    if not voices:
        return np.zeros(0, np.int32), np.zeros(0)
    union, where = np.unique(np.concatenate([items[i] for i in voices]), return_inverse=True)
    shares, start = np.zeros((len(voices), len(union))), 0
    for row, i in enumerate(voices):
        shares[row, where[start : start + len(items[i])]] = fusion.credit(scores[i], weights[i], i)
        start += len(items[i])
    total = np.sort(shares, axis=0).sum(axis=0)
    best = best_first(total, union, k)
    return union[best], total[best]


@dataclass(frozen=True)
class Fuse:
    """Fuse rankings, each with its weight."""

    fusion: Fusion
    weights: tuple[float, ...]
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, *rankings: Rankings) -> Rankings:
        """Fuse row by row."""
        return fuse_rows(self.fusion, [self.weights] * len(rankings[0]), rankings, self.k)


@dataclass(frozen=True)
class FuseByQuery:
    """Fuse two rankings with weights that differ from query to query."""

    fusion: Fusion
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, weights: Weights, first: Rankings, second: Rankings) -> Rankings:
        """Fuse row by row: the first ranking has the query's weight, the second the rest to 1."""
        pairs = [(alpha, 1 - alpha) for alpha in weights.values.tolist()]
        return fuse_rows(self.fusion, pairs, (first, second), self.k)


def fuse_rows(fusion: Fusion, weights: Sequence[Sequence[float]], rankings: Sequence[Rankings], k: int) -> Rankings:
    """Fuse tables of rankings row by row, each row with weights of its own."""
    rows = zip(
        weights,
        zip(*(r.items for r in rankings), strict=True),
        zip(*(r.scores for r in rankings), strict=True),
        strict=True,
    )
    fused = [fuse(fusion, given, items, scores, k) for given, items, scores in rows]
    return Rankings.of([items for items, _ in fused], [scores for _, scores in fused])


def check_weights(owner: object, weights: Sequence[Any], rankings: int) -> None:
    """Refuse weights that do not go with the rankings; none stands for equal ones.

    Raises
    ------
    InputError
        If they are not as many, not from 0 on, or all 0.
    """
    if not weights:
        return
    sound = all(isinstance(w, int | float) and 0 <= w < math.inf for w in weights)
    if len(weights) != rankings or not sound or not any(weights):
        raise InputError(
            f"{type(owner).__name__}: weights {tuple(weights)} do not fit; give {rankings}, each at least 0, "
            "one of them above 0"
        )


def equal(rankings: int) -> tuple[float, ...]:
    """Return equal weights that add up to 1."""
    return (1 / rankings,) * rankings
