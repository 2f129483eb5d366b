"""Intervals that hold at every setting of a sweep at once: for whoever looks at a curve and then picks a point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics.statistics.resampling import resampled_sums
from evalkit.serving.thresholds.area import RESAMPLES
from evalkit.serving.thresholds.clusters import check_draws, labels_of
from evalkit.serving.thresholds.swept import ThresholdSweep
from evalkit.serving.thresholds.tables import chosen, events, shares, spread, table

if TYPE_CHECKING:
    import pandas as pd

BANDED = ("hit_rate", "valid_hit_rate", "wrong_share", "served_wrong")


def banded_table(
    sweep: ThresholdSweep,
    where: Array | None = None,
    *,
    lookup_s: float = 0.0,
    clusters: Array | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the sweep's `table` with simultaneous bands beside the pointwise intervals.

    With probability `level` the bands hold for all settings and all four shares at once. The bootstrap over clusters
    draws the whole sweep, and says at which level single intervals must be taken for that (sup-t by quantiles). The
    bands are the table's own intervals, at this level: so a band holds the interval, and says something where no
    wrong answer was seen, and where a bootstrap would see no spread.

    Parameters
    ----------
    sweep : ThresholdSweep
    where, lookup_s, level
        As for `table`.
    clusters : array of shape (n,), optional
        What is drawn together. Default: `intents`, which are the same under every setting.
    seed, resamples : int

    Raises
    ------
    InputError
        If there are fewer than two clusters, not one label a request, or a number is out of range.

    Returns
    -------
    DataFrame
        As `table`, with ``<share>_band_low`` and ``<share>_band_high`` of ``hit_rate``, ``valid_hit_rate``,
        ``wrong_share`` and ``served_wrong``, and ``band_level``, the level of a single interval among them.

    References
    ----------
    Montiel Olea and Plagborg-Møller, *Simultaneous confidence bands: theory, implementation, and an application to
    SVARs*, Journal of Applied Econometrics 2019, algorithm 2.
    """
    check_draws("banded_table", seed=seed, level=level, resamples=resamples)
    mask, labels = chosen(sweep, where), labels_of(sweep, clusters, "banded_table")
    found = table(sweep, mask, lookup_s=lookup_s, level=level)
    single = simultaneous_level(sweep, mask, labels, seed=seed, resamples=resamples, level=level)
    rows = []
    for setting in range(len(sweep.settings)):
        wide = shares(sweep, setting, mask, single)
        ends = [spread(f"{name}_band", wide[name]).items() for name in BANDED]
        rows.append({key: value for pairs in ends for key, value in pairs if not key.endswith("_band")})
    for name in rows[0]:
        found[name] = [row[name] for row in rows]
    return found.assign(band_level=single)


def simultaneous_level(
    sweep: ThresholdSweep,
    where: Array,
    clusters: Array,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> float:
    """Return the level of single intervals at which those of all settings and shares hold at once with `level`.

    Never stricter than Bonferroni's, nor laxer than `level` itself.

    Raises
    ------
    InputError
        If there are fewer than two clusters, not one label a request, or a number is out of range.
    """
    check_draws("simultaneous_level", seed=seed, level=level, resamples=resamples)
    labels = labels_of(sweep, clusters, "simultaneous_level")
    codes = np.unique(labels[where], return_inverse=True)[1]
    groups = int(codes.max(initial=-1)) + 1
    if groups < 2:
        raise InputError("simultaneous_level: one cluster has no spread; give requests of several intents")
    rows = [
        np.bincount(codes, weights=which, minlength=groups)
        for setting in range(len(sweep.settings))
        for name, pair in events(sweep, setting, where).items()
        if name in BANDED
        for which in (pair[0] & pair[1], pair[1])
    ]
    drawn = resampled_sums(np.stack(rows, axis=1), seed=seed, resamples=resamples)
    parts, wholes = drawn[:, ::2], drawn[:, 1::2]
    values = np.divide(parts, wholes, out=np.full_like(parts, np.nan), where=wholes > 0)
    least = np.ones(resamples)
    for column in values.T:
        np.minimum(least, _rarity(column), out=least)
    tail = float(np.quantile(least, 1 - level, method="lower"))
    return float(1 - min(1 - level, max(tail, (1 - level) / values.shape[1])))


def _rarity(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each draw the two-sided share of draws that are no nearer to the middle; 1 where there is none."""
    known = np.sort(draws[~np.isnan(draws)])
    if not known.size:
        return np.ones_like(draws)
    below = np.searchsorted(known, draws, side="right") / known.size
    above = 1 - np.searchsorted(known, draws, side="left") / known.size
    return np.where(np.isnan(draws), 1.0, np.minimum(1.0, 2 * np.minimum(below, above)))
