"""Requests that are not independent: they got one entry, belong to one conversation, or want the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.columns import Array
from evalkit.datasets.traffic import of_intent
from evalkit.errors import InputError
from evalkit.metrics import Estimate
from evalkit.metrics.statistics.proportions import beta_bounds, effective_trials
from evalkit.serving.thresholds.swept import ThresholdSweep

Ints = NDArray[np.int64]
FEWEST = 5
"""Clusters with an event, and without one: below so many their spread is not estimated."""


def intents(sweep: ThresholdSweep) -> Array:
    """Label requests by what they want: tenant and intent, a trap with the intent that it is near.

    Such clusters are the same under every setting, as entries are not: a whole curve can be drawn. Requests for one
    intent share the entries that are right for them, and the wording that makes an entry near; its traps get the
    same entries, wrongly; the turns of a generated conversation (``talk/0``, ``talk/1``) belong to one, too. What has
    no intent is one with its like: the same text of the same tenant.

    Returns
    -------
    int64 array of shape (n,)
    """
    known: dict[tuple[str, str, bool], int] = {}
    wanted = [(a.tenant, of_intent(a.intent) if a.intent else a.text, bool(a.intent)) for a in sweep.arrivals]
    return np.array([known.setdefault(one, len(known)) for one in wanted], dtype=np.int64)


def labels_of(sweep: ThresholdSweep, clusters: Array | None, name: str) -> Array:
    """Return what is drawn together: the labels given, one a request, or `intents`.

    Raises
    ------
    InputError
        If there is not one label a request. It begins with `name`.
    """
    if clusters is None:
        return intents(sweep)
    labels, n = np.asarray(clusters), len(sweep.arrivals)
    if labels.shape != (n,):
        raise InputError(f"{name}: clusters has shape {labels.shape}; give a label for each of the {n} requests")
    return labels


def check_draws(name: str, *, seed: int, level: float, resamples: int = 1) -> None:
    """Refuse what no bootstrap can be drawn with; the error begins with `name`.

    Raises
    ------
    InputError
        If a number is out of range; all such numbers are in it.
    """
    numbers: tuple[object, ...] = seed, resamples
    whole = [isinstance(one, int | np.integer) and not isinstance(one, bool) for one in numbers]
    said = [
        f"{what} is {value}, but has to be {must}"
        for what, value, must, fits in (
            ("seed", seed, "a whole number from 0", whole[0] and seed >= 0),
            ("resamples", resamples, "a whole number from 1", whole[1] and resamples >= 1),
            ("level", level, "above 0 and below 1", 0 < level < 1),
        )
        if not fits
    ]
    if said:
        raise InputError(f"{name}: {'; '.join(said)}")


class Crossed:
    """Clusters of two kinds that cross, made ready once for whatever is averaged over them.

    The variance of a mean is the sum of those by either clustering, less that by both at once, and never less than by
    one alone (Cameron, Gelbach and Miller, *Robust inference with multiway clustering*, Journal of Business and
    Economic Statistics 2011). Quantiles are Student's, for the smaller number of clusters.

    Parameters
    ----------
    first, second : int arrays of shape (n,)
        Labels, 0 or more and not much more than n: they are counted, not sorted.
    """

    def __init__(self, first: Array, second: Array) -> None:
        self._kinds = (first, second, _both(first, second))

    def mean(self, values: Array, level: float = 0.95) -> Estimate:
        """Return a mean and its interval, within the range of the values; nan if a value is nan, or there is none."""
        n = len(values)
        if not n or not np.isfinite(values).all():
            return Estimate(math.nan, math.nan, math.nan, n, "undefined", level)
        mean = float(values.mean())
        counts = [int(np.count_nonzero(np.bincount(labels))) for labels in self._kinds]
        groups = min(counts[:2])
        if groups < 2:
            return Estimate(mean, -math.inf, math.inf, n, "no interval from one cluster", level)
        half = _student(level, groups) * math.sqrt(_variance(values - mean, self._kinds, counts)) / n
        low, high = max(mean - half, float(values.min())), min(mean + half, float(values.max()))
        return Estimate(mean, min(low, mean), max(high, mean), n, f"t, {groups} clusters", level)

    def share(self, events: Array, trials: Array, *, alike: bool = False) -> Share:
        """Return the share of trials with an event, ready for an interval at any level.

        Parameters
        ----------
        events, trials : bool arrays of shape (n,)
            Every event is one of a trial.
        alike : bool
            As for `evalkit.metrics.statistics.two_way.two_way_proportion_interval`.
        """
        happened, kinds = events[trials].astype(np.float64), [labels[trials] for labels in self._kinds]
        n = len(happened)
        sizes = [np.bincount(labels) for labels in kinds]
        counts = [int(np.count_nonzero(one)) for one in sizes]
        bad = [np.bincount(labels, weights=happened, minlength=1) for labels in kinds[:2]]
        seen = min(
            int(np.count_nonzero(part)) for one, size in zip(bad, sizes, strict=False) for part in (one, size - one)
        ) if n else 0  # fmt: skip
        parts: list[tuple[float, float]] = []
        for weights in (np.ones(n), 1 / sizes[0][kinds[0]])[: (1 + alike) * (n > 0)]:
            share = float(np.average(happened, weights=weights))
            parts.append((share, _variance(weights / weights.sum() * (happened - share), kinds, counts)))
        return Share(n, float(happened.mean()) if n else math.nan, min(counts[:2]), seen < FEWEST, tuple(parts))


@dataclass(frozen=True)
class Share:
    """A share of trials in crossed clusters, with the interval of `two_way_proportion_interval`.

    Parameters
    ----------
    n : int
        Trials.
    value : float
    groups : int
        Clusters, of the kind that has fewer.
    few : bool
        Whether so few clusters have an event, or have none, that their spread cannot be seen.
    parts : tuple of (share, variance)
        Of all trials; and of all clusters weighed alike.
    """

    n: int
    value: float
    groups: int
    few: bool
    parts: tuple[tuple[float, float], ...]

    def at(self, level: float) -> Estimate:
        """Return the share and its interval at a level; nan and [0, 1] where there was no trial."""
        if not self.n:
            return Estimate(math.nan, 0.0, 1.0, 0, "undefined: no trials", level)
        worth = [effective_trials(share, variance, self.n, self.groups, level) for share, variance in self.parts]
        worth = [min(trials, self.groups) if self.few else trials for trials in worth]
        pairs = zip(self.parts, worth, strict=True)
        ends = [beta_bounds(min(share, 1.0) * trials, trials, level) for (share, _), trials in pairs]
        note = f"two-way Korn-Graubard, {self.groups} clusters, {min(worth):.0f} effective trials"
        return Estimate(self.value, min(e[0] for e in ends), max(e[1] for e in ends), self.n, note, level)


def _variance(residuals: Array, kinds: Sequence[Array], counts: Sequence[int]) -> float:
    """Return the variance of a sum of residuals; `kinds`: of either clustering, then of both at once."""
    parts = []
    for labels, groups in zip(kinds, counts, strict=True):
        squares = float(np.square(np.bincount(labels, weights=residuals)).sum())  # no BLAS: its threads wait
        parts.append(squares * groups / max(groups - 1, 1))
    first, second, both = parts
    return max(first + second - both, first, second)


def _both(first: Array, second: Array) -> Ints:
    """Label the pairs. Where a second label stands alone, so does its pair: only the others are sorted."""
    n = len(first)
    found: Ints = np.arange(n, dtype=np.int64)
    shared = np.bincount(second, minlength=1)[second] > 1
    pairs = first[shared].astype(np.int64) * (int(second.max(initial=0)) + 1) + second[shared]
    found[shared] = n + np.unique(pairs, return_inverse=True)[1]
    return found


def _student(level: float, groups: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, groups - 1))
