"""How likely an entry is right, by similarity: curves, and what observations say of them.

Similarity goes from a floor to 1 in `BINS` equal bins. A curve gives the probability of being right in each:
``ceiling / (1 + exp(-slope * (bin - location)))``, read from left to right, or from right to left.

Every curve has an e-value: a number whose expectation is at most 1 when the curve is the true one, however many
observations were made, and for whatever reason there are no more. It is a likelihood ratio, of what a mixture of all
curves foretold to what the curve says. The mixture has to learn first, and what that costs would stay in the ratio;
so the e-value is a weighted mean of several ratios, each of which begins later, with the mixture as it was by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from evalkit.columns import Array

BINS = 40
_CEILINGS = (1.0, 0.997, 0.99, 0.98, 0.96, 0.9, 0.75, 0.5, 0.2, 0.0)
_SLOPES = (0.1, 0.4, 2.0)
_LOCATIONS = range(0, BINS + 1, 3)
_LEAST = 1e-9
_FIRST = 8
_MUCH = 100.0  # e-values beyond exp(100) are never the least
_STARTS = np.array([0.4, 0.2, 0.12, 0.1, 0.08, 0.05, 0.03, 0.02])
"""Weights of the ratios that begin with observation 0, 8, 16, 32, ... 512."""
_BEGINNINGS = (0, *(_FIRST * 2**i for i in range(len(_STARTS) - 1)))
_TOGETHER = 16
"""Entries worked at together: few enough that what is known of them stays near the processor."""

Seen = Sequence[Sequence[int]]
"""What was seen of an entry: (span, bin, times right, times wrong). The spans are those between two starts."""


def observed(seen: Seen, at: int, right: bool) -> list[list[int]]:
    """Return what was seen, with one observation more, in the bin `at`."""
    begun = span(sum(yes + no for _, _, yes, no in seen))
    counts = {(since, place): (yes, no) for since, place, yes, no in seen}
    yes, no = counts.get((begun, at), (0, 0))
    counts[begun, at] = (yes + int(right), no + int(not right))
    return [[*cell, *counts[cell]] for cell in sorted(counts)]


def span(number: int) -> int:
    """Return in which span the next observation lies, after so many."""
    return min(len(_STARTS) - 1, (number // _FIRST).bit_length())


def judged(seen: Seen, at: int) -> tuple[float, float]:
    """Return what is known of an entry in a bin.

    Returns
    -------
    mean : float
        The probability of being right, averaged over the curves as what was seen weighs them.
    evidence : float
        The least, over all curves, of the e-value by the probability of being wrong. Times a bound on errors it is
        the highest probability of giving the entry with which the bound holds: whichever curve is the true one,
        ``E[given * wrong] <= bound * E[e-value] <= bound``.
    """
    curves = _curves()
    begun = 1 + max((row[0] for row in seen), default=-1)
    right, wrong = np.zeros((2, begun + 1, BINS))  # and the span that nothing was seen in yet
    for since, place, yes, no in seen:
        right[since, place], wrong[since, place] = yes, no
    spans = right @ curves.log_right + wrong @ curves.log_wrong
    until = np.cumsum(spans, axis=0)
    total, before = until[-1], (until - spans)[:begun]
    mixture = _log_sum(total + curves.prior)
    foretold = mixture - _log_sum(before + curves.prior)
    chance = curves.wrong[at]
    mean = 1 - np.exp(total + curves.prior - mixture) @ chance
    return float(mean), float((_e_values(total, before, foretold) / chance).min())


def _e_values(total: Array, before: Array, foretold: Array) -> Array:
    """Return the e-value of every curve, of shape (..., curves).

    Parameters
    ----------
    total : float64 array of shape (..., curves)
        The logarithm of the probability of all that was seen, under every curve.
    before : float64 array of shape (..., begun, curves)
        Of what was seen before each ratio began.
    foretold : float64 array of shape (..., begun)
        The logarithm of the probability that the mixture, as it was then, gave to all that came after.
    """
    begun = before.shape[-2]
    ratios = np.exp(np.minimum(foretold[..., None] - (total[..., None, :] - before), _MUCH))
    return np.asarray(_STARTS[:begun] @ ratios + _STARTS[begun:].sum())  # those that have not begun are 1


class Many:
    """What was seen of many entries at once: as `observed` and `judged` say it of one, up to rounding.

    Parameters
    ----------
    size : int
        How many entries. Of none has anything been seen.
    """

    def __init__(self, size: int) -> None:
        shape = size, len(_STARTS), len(_curves().prior)
        self._total, self._weights = np.zeros((2, size, shape[-1]))
        self._before, self._learnt = np.zeros(shape), np.zeros(shape[:2])
        self._mixture, self._number = np.zeros(size), np.zeros(size, dtype=np.int64)
        self._weigh(np.arange(size))

    def observe(self, rows: Array, at: Array, right: Array) -> None:
        """Take in one observation of each of these entries: int64, int64 and bool arrays of shape (n,)."""
        curves = _curves()
        for row in rows[np.isin(self._number[rows], _BEGINNINGS)]:
            begun = span(int(self._number[row]))
            self._before[row, begun], self._learnt[row, begun] = self._total[row], self._mixture[row]
        self._total[rows] += np.where(right[:, None], curves.log_right[at], curves.log_wrong[at])
        self._number[rows] += 1
        self._weigh(rows)

    def forget(self, rows: Array) -> None:
        """Begin anew with these entries."""
        self._total[rows], self._number[rows] = 0.0, 0
        self._weigh(rows)

    def mean(self, rows: Array, at: Array) -> Array:
        """Return the mean chance of being right of these entries in these bins: float64 of shape (n,)."""
        return np.asarray(1 - np.einsum("ij,ij->i", self._weights[rows], _curves().wrong[at]))

    def evidence(self, rows: Array, at: Array) -> Array:
        """Return the evidence for these entries in these bins: float64 of shape (n,)."""
        found = np.empty(len(rows))
        begun = np.array([1 + span(int(n) - 1) if n else 0 for n in self._number[rows]], dtype=np.int64)
        for count in np.unique(begun):
            of = np.flatnonzero(begun == count)
            for part in np.array_split(of, -(-len(of) // _TOGETHER)):
                some = rows[part]
                foretold = self._mixture[some, None] - self._learnt[some, :count]
                values = _e_values(self._total[some], self._before[some, :count], foretold)
                found[part] = (values / _curves().wrong[at[part]]).min(axis=-1)
        return found

    def _weigh(self, rows: Array) -> None:
        for some in np.array_split(rows, max(1, -(-len(rows) // _TOGETHER))):
            logs = self._total[some] + _curves().prior
            self._mixture[some] = _log_sum(logs)
            self._weights[some] = np.exp(logs - self._mixture[some, None])


def _log_sum(logs: Array) -> Array:
    """Return the logarithm of the sum along the last axis."""
    top = logs.max(axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(logs - top).sum(axis=-1)) + top[..., 0])


class _Curves(NamedTuple):
    """Of shape (BINS, curves), but for `prior`: the logarithm of what each weighs in the mixture, (curves,)."""

    wrong: Array
    log_right: Array
    log_wrong: Array
    prior: Array


@cache
def _curves() -> _Curves:
    """Lay down all curves.

    The weights say what is likely, and so how soon entries are given; the bound on errors holds for any weights.
    Half goes to what is the same everywhere; nearly all else to curves that rise; most of both to a ceiling of 1.
    """
    at = np.arange(BINS) + 0.5
    rows, weights = [], []
    for ceiling in _CEILINGS:
        share = 0.6 if ceiling == 1 else 0.4 / (len(_CEILINGS) - 1)
        rows.append(np.full(BINS, ceiling))
        weights.append(0.5 * share)
        for slope in _SLOPES:
            for location in _LOCATIONS:
                rising = ceiling / (1 + np.exp(-slope * (at - location)))
                rows += [rising, rising[::-1]]
                each = 0.5 * share / (len(_SLOPES) * len(_LOCATIONS))
                weights += [0.95 * each, 0.05 * each]
    right = np.ascontiguousarray(np.clip(np.array(rows), _LEAST, 1 - _LEAST).T)
    return _Curves(1 - right, np.log(right), np.log1p(-right), np.log(np.array(weights)))
