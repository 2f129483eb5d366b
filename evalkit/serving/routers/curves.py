"""Cost and quality of a router at every threshold, and what a random router would have made of the same money.

All of it is sums over prompts in the order of their scores, so a resample of prompts is a row of counts, and one pass
gives a whole curve for each (see `evalkit.metrics.statistics.resampling`). Costs are rounded to fixed point there, so
that the sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.statistics.resampling import fixed_point, resampled_counts

Floats = NDArray[np.float64]
_BLOCK = 1 << 20
LEAST = 1e-12
"""Differences of quality below it are rounding."""


@dataclass(frozen=True, eq=False)
class Stakes:
    """What a router decides about: two models' quality and cost of n prompts.

    Parameters
    ----------
    weak, strong : float64 arrays of shape (n,)
        Quality.
    weak_usd, strong_usd : float64 arrays of shape (n,)
    """

    weak: Floats
    strong: Floats
    weak_usd: Floats
    strong_usd: Floats

    def __len__(self) -> int:
        return len(self.weak)

    def take(self, rows: NDArray[np.int64]) -> Stakes:
        """Return some prompts' stakes."""
        return Stakes(self.weak[rows], self.strong[rows], self.weak_usd[rows], self.strong_usd[rows])


@dataclass(frozen=True, eq=False)
class Drawn:
    """A router's curve on b resamples of n prompts (or on the prompts themselves, b = 1), at k + 1 thresholds.

    Parameters
    ----------
    calls : float64 array of shape (b, k + 1)
        Share of prompts that the strong model is asked.
    usd, quality : float64 arrays of shape (b, k + 1)
        Of a prompt, on average.
    weak, strong, weak_usd, strong_usd : float64 arrays of shape (b, 1)
        Of the models alone.
    """

    calls: Floats
    usd: Floats
    quality: Floats
    weak: Floats
    strong: Floats
    weak_usd: Floats
    strong_usd: Floats

    @cached_property
    def share(self) -> Floats:
        """Cost on the way from the weak model's, 0, to the strong one's, 1: (b, k + 1). A cascade's goes beyond."""
        return (self.usd - self.weak_usd) / (self.strong_usd - self.weak_usd)

    @cached_property
    def recovered(self) -> Floats:
        """Performance gap recovered (PGR), shape (b, k + 1); nan for a resample in which there is no gap."""
        gap = self.strong - self.weak
        out: Floats = np.divide(
            self.quality - self.weak, gap, out=np.full_like(self.quality, np.nan), where=gap > LEAST
        )
        return out

    @cached_property
    def random(self) -> Floats:
        """Expected quality of a router that asks the strong model by chance, as often as costs the same: (b, k + 1).

        Exact: its cost and its quality are both linear in that chance. Where a cascade costs more than the strong
        model alone, it is that model.
        """
        chance = np.clip(self.share, 0.0, 1.0)
        return self.weak + chance * (self.strong - self.weak)

    @cached_property
    def gain(self) -> Floats:
        """Quality beyond that of a random router at the same cost: shape (b, k + 1)."""
        found = self.quality - self.random
        return np.where(np.abs(found) < LEAST, 0.0, found)

    def area(self, by: Floats) -> Floats:
        """Return the area under the PGR over `by` from 0 to 1, shape (b,); between thresholds by chance, linearly."""
        x, y = by, self.recovered
        x0, x1, y0, y1 = x[:, :-1], x[:, 1:], y[:, :-1], y[:, 1:]
        inside = np.minimum(x1, 1.0)
        width = np.where(x1 != x0, x1 - x0, 1.0)
        at_end = np.where(x1 > 1.0, y0 + (y1 - y0) * (inside - x0) / width, y1)
        parts = np.where(x0 < 1.0, (inside - x0) * (y0 + at_end) / 2, 0.0)
        return np.asarray(np.cumsum(parts, axis=1)[:, -1])

    def reached(self, by: Floats, target: float) -> Floats:
        """Return the least of `by` with which the PGR is `target`, shape (b,); between thresholds linearly."""
        y, rows = self.recovered, np.arange(len(self.recovered))
        above = y >= target - LEAST
        k = above.argmax(axis=1)
        before = np.maximum(k - 1, 0)
        rise = y[rows, k] - y[rows, before]
        part = np.divide(target - y[rows, before], rise, out=np.ones(len(y)), where=rise > 0)
        found = by[rows, before] + part * (by[rows, k] - by[rows, before])
        return np.where(above.any(axis=1), found, np.nan)


@dataclass(frozen=True, eq=False)
class Curve:
    """A router on some prompts.

    Parameters
    ----------
    stakes : Stakes
        Of n prompts.
    scores : float64 array of shape (n,)
        From the threshold on, the strong model is asked. Finite.
    cascade : bool
        Whether the weak model answers first, and is paid for every prompt.
    """

    stakes: Stakes
    scores: Floats
    cascade: bool = False

    @cached_property
    def thresholds(self) -> Floats:
        """Every threshold that decides differently: infinity, then the k scores that occur, highest first."""
        return np.concatenate([[np.inf], np.unique(self.scores)[::-1]])

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """How many prompts are above each threshold: shape (k + 1,)."""
        return np.searchsorted(-self.scores[self._order], -self.thresholds, side="right")

    def position(self, threshold: float) -> int:
        """Return the position of the threshold that decides as a given one does."""
        return int((self.thresholds >= threshold).sum()) - 1

    @cached_property
    def points(self) -> Drawn:
        """The curve on the prompts themselves, b = 1."""
        return self._drawn(np.ones((1, len(self.stakes))))

    def draws(self, seed: int, resamples: int) -> Iterator[tuple[int, Drawn]]:
        """Yield, block by block, where it starts and the curve on bootstrap resamples of the prompts.

        The resamples are those of `bootstrap_means` for the same seed and n, so that routers are paired.
        """
        for start, counts in resampled_counts(len(self.stakes), seed, resamples, _BLOCK):
            yield start, self._drawn(counts)

    @cached_property
    def _columns(self) -> tuple[Floats, Floats]:
        """Weak, strong, gain, the weak's cost, the strong's and what it adds: whole numbers, and their units."""
        s = self.stakes
        extra = s.strong_usd if self.cascade else s.strong_usd - s.weak_usd
        return fixed_point(np.column_stack([s.weak, s.strong, s.strong - s.weak, s.weak_usd, s.strong_usd, extra]))

    def _drawn(self, counts: Floats) -> Drawn:
        whole, unit = self._columns
        n = counts.sum(axis=1, keepdims=True)
        in_order, ordered = counts[:, self._order], whole[self._order]
        gain, extra = (self._running(in_order * ordered[:, i]) * unit[i] / n for i in (2, 5))
        weak, strong, weak_usd, strong_usd = (
            np.cumsum(counts * whole[:, i], axis=1)[:, -1:] * unit[i] / n for i in (0, 1, 3, 4)
        )
        calls = self._running(in_order) / n
        return Drawn(calls, weak_usd + extra, weak + gain, weak, strong, weak_usd, strong_usd)

    def _running(self, values: Floats) -> Floats:
        """Return the sums above each threshold: shape (b, k + 1)."""
        sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
        return np.asarray(sums[:, self._ends])
