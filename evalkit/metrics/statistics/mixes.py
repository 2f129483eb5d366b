"""Comparison of different requests, refused when their mixes are unlike."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evalkit.metrics.base import MetricError
from evalkit.metrics.statistics.resampling import finite_matrix
from evalkit.metrics.statistics.verdicts import Comparison, more_queries, standardised, verdict

__all__ = ["unpaired"]

_UNLIKE = 0.001  # p-value below which two mixes of requests are taken to differ


def unpaired(
    baseline: ArrayLike,
    other: ArrayLike,
    *,
    kinds: tuple[Sequence[Any], Sequence[Any]],
    higher_is_better: bool = True,
    level: float = 0.95,
) -> Comparison:
    """Compare two systems on different requests of like kinds, by Welch's t.

    Parameters
    ----------
    baseline, other : array, shapes (n,) and (m,)
        Values.
    kinds : pair of sequences
        The kind of each request (simple, conversational, complex, ...) on either side. A mean over unlike
        mixes says nothing about the systems: the comparison is refused when a kind occurs on one side only,
        or the shares differ more than chance allows (chi-squared, p < 0.001).

    Raises
    ------
    MetricError
        If the mixes are unlike, or a side has fewer than two values.
    """
    from scipy import stats

    first, second = finite_matrix(baseline, "baseline")[:, 0], finite_matrix(other, "other")[:, 0]
    _check_mixes((first.size, second.size), kinds)
    if min(first.size, second.size) < 2:
        raise MetricError("an unpaired comparison needs at least two values on each side")
    difference = float(second.mean() - first.mean())
    variance = first.var(ddof=1) / first.size + second.var(ddof=1) / second.size
    if variance > 0:
        test = stats.ttest_ind(second, first, equal_var=False)
        p, (low, high) = float(test.pvalue), test.confidence_interval(level)
    else:
        p, low, high = float(difference == 0), difference, difference
    pooled = sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    decided = verdict(difference if higher_is_better else -difference, p, False, level)
    n = min(first.size, second.size)
    return Comparison(
        n=n,
        baseline=float(first.mean()),
        other=float(second.mean()),
        difference=difference,
        low=float(low),
        high=float(high),
        p=p,
        p_t=p,
        p_adjusted=p,
        effect=standardised(difference, pooled),
        wins=0,
        ties=0,
        losses=0,
        verdict=decided,
        more_queries=more_queries(difference, sqrt(variance * n), n, None, level)
        if decided == "inconclusive"
        else None,
        margin=None,
        level=level,
        method="Welch's t, unpaired",
    )


def _check_mixes(sizes: tuple[int, int], kinds: tuple[Sequence[Any], Sequence[Any]]) -> None:
    """Refuse mixes of requests that differ."""
    from scipy.stats import chi2_contingency

    if (len(kinds[0]), len(kinds[1])) != sizes:
        raise MetricError(f"{len(kinds[0])} and {len(kinds[1])} kinds for {sizes[0]} and {sizes[1]} values")
    names = list(dict.fromkeys([*kinds[0], *kinds[1]]))
    counts = np.array([[list(side).count(name) for name in names] for side in kinds])
    for name, (ours, theirs) in zip(names, counts.T.tolist(), strict=True):
        if not ours or not theirs:
            raise MetricError(
                f"unlike mixes: {ours} requests of kind {name!r} against {theirs}; compare kind by kind"
            )
    if len(names) > 1 and chi2_contingency(counts, correction=False).pvalue < _UNLIKE:
        mixes = " against ".join(", ".join(f"{c / sum(side):.0%}" for c in side) for side in counts.tolist())
        raise MetricError(f"unlike mixes of {', '.join(map(str, names))}: {mixes}; compare kind by kind")
