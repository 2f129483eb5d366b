"""What a ranking gives to its items when rankings are fused: by rank, or by scores brought to one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError


class Fusion(Protocol):
    """Says what a ranking gives to each of its items; an item's fused score is the sum over all rankings.

    A ranking gives nothing to items that it misses.
    """

    def credit(self, scores: Array, weight: float, place: int) -> Array:
        """Return what a ranking gives to its items.

        Parameters
        ----------
        scores : float64 array of shape (n,)
            Of one ranking, best first; n is at least 1.
        weight : float
            Of this ranking, above 0.
        place : int
            Which of the fused rankings it is, from 0.

        Returns
        -------
        float64 array of shape (n,)
        """


@dataclass(frozen=True)
class RRF:
    """Reciprocal rank fusion: ``weight / (c + rank)``; scores count for nothing but the order.

    Parameters
    ----------
    c : int
        Added to every rank, so that the first ranks differ less: 60 in the paper, where it is called k.

    References
    ----------
    Cormack, Clarke and Büttcher, *Reciprocal Rank Fusion outperforms Condorcet and individual rank learning
    methods*, SIGIR 2009.
    """

    c: int = 60

    def __post_init__(self) -> None:
        if self.c < 0:
            raise InputError(f"RRF: c {self.c} does not fit; it is at least 0")

    def credit(self, scores: Array, weight: float, place: int) -> Array:
        """``weight / (c + rank)``, ranks from 1."""
        return weight / (self.c + np.arange(1, len(scores) + 1))


@dataclass(frozen=True)
class MinMax:
    """Scores on a scale from 0 to 1: ``weight * (score - lowest) / (highest - lowest)``, a convex combination.

    Where all scores of a list are equal, or it holds one item, each item has 1. In the paper both systems score
    every item; here an item that a list misses has 0, as if it had the lowest score. With stated minima that is far
    below the list's last item, so lists should be deep.

    Parameters
    ----------
    minima : tuple of float
        The lowest score that each ranking could have, in their order: the paper's theoretical min-max, for cosines
        and BM25 ``(-1, 0)``. Rankings beyond its end, so all of them by default, take the lowest of their own list.

    Raises
    ------
    InputError
        If a minimum is no finite number or, when it is used, above a score.

    References
    ----------
    Bruch, Gai and Ingber, *An Analysis of Fusion Functions for Hybrid Retrieval*, ACM TOIS 2023.
    """

    minima: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "minima", tuple(self.minima))
        if not all(math.isfinite(minimum) for minimum in self.minima):
            raise InputError(f"MinMax: minima {self.minima} do not fit; they are finite numbers")

    def credit(self, scores: Array, weight: float, place: int) -> Array:
        """Each score's place between the lowest and the highest one."""
        own = float(scores.min())
        lowest = float(self.minima[place]) if place < len(self.minima) else own
        if own < lowest:
            raise InputError(
                f"MinMax: ranking {place + 1} has the score {own:g}, below its stated minimum {lowest:g}"
            )
        return weight * _scaled(scores - lowest, float(scores.max()) - lowest)


@dataclass(frozen=True)
class ZScore:
    """Scores in standard deviations above the list's lowest: ``weight * (score - lowest) / deviation``.

    Counting from the lowest score and not from the mean changes no order among items of all lists, and puts an item
    that a list misses on a level with its last. Where all scores of a list are equal, each item has 1.

    References
    ----------
    Bruch, Gai and Ingber, *An Analysis of Fusion Functions for Hybrid Retrieval*, ACM TOIS 2023, which compares it.
    """

    def credit(self, scores: Array, weight: float, place: int) -> Array:
        """Each score's distance from the lowest, in standard deviations of the list."""
        return weight * _scaled(scores - scores.min(), float(scores.std()))


def _scaled(above: Array, unit: float) -> Array:
    """Distances in units; 1 where the list's scores are all one, or so near that their differences vanish."""
    if unit <= 0 or not np.ptp(above):
        return np.ones(len(above))
    return np.asarray(above / unit, dtype=np.float64)
