"""Two-level factorial designs: what each of several switches does, alone and together, on the same requests.

k switches, each off or on, give 2^k cells. Cells stand in standard order (Yates): cell c has switch i on where bit i
of c is set, so the first has nothing on and the last all. All cells are measured on the same requests, and a resample
draws the same requests for all of them: what they have in common cancels out of every contrast.

References
----------
Box, Hunter and Hunter, Statistics for experimenters, 2nd edition, 2005, chapter 5: effects, interactions, standard
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import Estimate, MetricError
from evalkit.metrics.statistics.factorial_cells import (
    Cells,
    Term,
    cell_means,
    cell_quantiles,
    combine,
    standard_order,
)
from evalkit.metrics.statistics.resampling import ROUNDING
from evalkit.metrics.statistics.verdicts import holm

__all__ = [
    "Cells", "Effect", "How", "Promise", "Term", "cell_means", "cell_quantiles", "combine", "contrasts", "effects",
    "promise", "standard_order",
]  # fmt: skip

Floats = NDArray[np.float64]
How = Literal["sum", "product"]


def contrasts(k: int) -> Floats:
    """Return the weights of the cells in each effect of a 2^k design, shape (2^k - 1 terms, 2^k cells).

    With s = +1 where a factor is on and -1 where it is off, the effect of a term is the sum over cells of the value
    times the product of its factors' s, divided by 2^(k-1). So

    - a main effect is the mean of the cells with the factor on less the mean of those with it off: the mean change
      when it is switched on, over all settings of the others;
    - a two-way interaction is half the difference between the main effect of one factor where the other is on and
      where it is off; a three-way interaction is half the difference of two such interactions; and so on.

    It is twice the coefficient of ordinary least squares on columns of +1 and -1 (Box, Hunter and Hunter, 2005).
    """
    cells = range(1 << k)
    signs = [[(-1) ** (term & ~cell).bit_count() for cell in cells] for term in cells[1:]]
    weights: Floats = np.array(signs, dtype=np.float64) / 2 ** (k - 1)
    return weights


@dataclass(frozen=True)
class Effect:
    """What one term of the model is worth.

    Parameters
    ----------
    term : tuple of str
        One factor, or those that interact.
    estimate : Estimate
        In the statistic's unit; see `contrasts`.
    p, p_adjusted : float
        Two-sided, for no effect: the level at which the interval would just end at zero; and after Holm's correction
        over all terms.
    """

    term: Term
    estimate: Estimate
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class Promise:
    """What the switches promise together from what each does alone, and what they do.

    Parameters
    ----------
    promised, measured : Estimate
        Of the cell with everything on.
    difference : Estimate
        Measured less promised: where lower is better and it is above zero, less came than was promised.
    p : float
        Two-sided, for no difference.
    """

    promised: Estimate
    measured: Estimate
    difference: Estimate
    p: float


def effects(cells: Cells, *, level: float = 0.95) -> tuple[Effect, ...]:
    """Return all main effects and interactions, in standard order; p-values are corrected over them (Holm, 1979).

    Raises
    ------
    MetricError
        If `level` is not between 0 and 1.
    """
    weights = contrasts(len(cells.factors))
    values, drawn = _rounded(weights, cells.value), _rounded(weights, cells.drawn)
    found = [combine(cells, float(values[i]), drawn[:, i], level) for i in range(len(weights))]
    adjusted = holm([p for _, p in found])
    terms = standard_order(cells.factors)[1:]
    return tuple(Effect(t, e, p, float(a)) for t, (e, p), a in zip(terms, found, adjusted, strict=True))


def _rounded(weights: Floats, values: Floats) -> Floats:
    """Weigh cells; a difference that is the rounding of sums is none."""
    out = values @ weights.T
    out[np.abs(out) <= ROUNDING * np.abs(values).max(axis=-1, keepdims=True)] = 0.0
    return np.asarray(out, dtype=np.float64)


def promise(cells: Cells, how: How = "sum", *, level: float = 0.95) -> Promise:
    """Say what adding up promises for everything on, from what each switch does alone, and what it came to.

    Parameters
    ----------
    cells : Cells
    how : {"sum", "product"}
        sum: the changes add up, ``y0 + sum(yi - y0)``, y0 with nothing on and yi with switch i alone. product: the
        ratios compound, ``y0 * prod(yi / y0)``; undefined where y0 is 0. The difference of what was measured and the
        sum is the sum of all interactions as they are coded by 0 and 1; that of the logarithms goes with the product.
    level : float

    Raises
    ------
    MetricError
        If `how` is neither, or `level` is not between 0 and 1.
    """
    if how not in get_args(How):
        raise MetricError(f"factorial: how is {how!r}; give {' or '.join(map(repr, get_args(How)))}")
    alone = [1 << i for i in range(len(cells.factors))]

    def promised(values: Floats) -> Floats:
        base = values[..., :1]
        if how == "sum":
            return np.asarray((base + (values[..., alone] - base).sum(axis=-1, keepdims=True))[..., 0])
        ratios = np.divide(values[..., alone], base, out=np.full_like(values[..., alone], np.nan), where=base != 0)
        return np.asarray((base * ratios.prod(axis=-1, keepdims=True))[..., 0])

    said, drawn = float(promised(cells.value)), promised(cells.drawn)
    came, came_drawn = float(cells.value[-1]), cells.drawn[:, -1]
    least = ROUNDING * float(np.abs(cells.value).max())
    gap, gaps = came - said, np.where(np.abs(came_drawn - drawn) <= least, 0.0, came_drawn - drawn)
    difference, p = combine(cells, 0.0 if abs(gap) <= least else gap, gaps, level)
    return Promise(combine(cells, said, drawn, level)[0], combine(cells, came, came_drawn, level)[0], difference, p)
