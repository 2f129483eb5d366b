"""What several switches of a service do together: replays of the same traffic with all combinations of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evalkit.errors import InputError, nearest
from evalkit.evaluate.apply import worst
from evalkit.metrics import P95, DollarsPer1000, Estimate, Mean, ServedWrong
from evalkit.metrics.statistics.factorial import (
    Cells,
    How,
    Term,
    cell_means,
    cell_quantiles,
    combine,
    effects,
    promise,
)
from evalkit.serving.results.batches import batches, means, quantile, share
from evalkit.serving.results.factorial_measures import MEASURES, arranged, label, paired
from evalkit.serving.results.targets import verdict
from evalkit.types import Origin

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.serving.results.outcomes import Replay

Claims = Mapping[str, Mapping[str, tuple[float, float]]]
"""What a document says, ``{metric: {factor or "all": (before, after)}}``, in units of its own."""
EVERYTHING = "all"
PROMISED = (str(Mean()), str(P95()), str(DollarsPer1000()), str(ServedWrong()), "worse", "lost")
"""What `Factorial.additive` tells of: what less of is better."""


@dataclass(frozen=True, eq=False)
class Factorial:
    """Replays of the same traffic with every combination of some switches.

    Parameters
    ----------
    factors : tuple of str
        The switches.
    replays : {factors that are on: Replay}
        In standard order (see `evalkit.metrics.statistics.factorial`): nothing first, everything last.
    measured : {metric: Cells}
        ``Mean``, ``P50``, ``P95``, ``FirstToken(q=0.95)``: milliseconds of the requests that all cells answered.
        ``DollarsPer1000``; ``tokens read``: a request's prompt tokens that a prompt cache held; ``HitRate``.
        ``ServedWrong``: share of requests that a cache gave a wrong answer, by intents, of those that can be judged
        in all cells. Against the reference answer, of requests that have one, whatever the cause (a wrong hit, a
        weaker model, no answer): ``worse``, the share whose token F1 is lower than with nothing on; ``lost``, the
        share that falls from at least 0.5 to below; ``quality``, the mean, in which answers that became better make
        up for those. ``declined``: share of answers that say that the documents do not tell. ``answered``: share of
        requests. A metric that applies to nothing is left out.
    stated : {metric: {factor or "all": (before, after)}}
    """

    factors: tuple[str, ...]
    replays: Mapping[Term, Replay] = field(repr=False)
    measured: Mapping[str, Cells] = field(repr=False)
    stated: Claims = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """The weakest of the replays'."""
        return worst([replay.origin for replay in self.replays.values()])

    @cached_property
    def effects(self) -> pd.DataFrame:
        """One row a metric and term: main effects and interactions, see ``metrics.statistics.factorial.contrasts``.

        Returns
        -------
        DataFrame
            ``metric``, ``term`` (factors joined by " x "), ``value``, ``low``, ``high``, ``p`` (corrected by Holm
            over the metric's terms), ``unit``, ``origin``.
        """
        rows = [
            (name, " x ".join(e.term), e.estimate.value, e.estimate.low, e.estimate.high, e.p_adjusted,
             MEASURES[name].unit)
            for name, cells in self.measured.items()
            for e in effects(cells)
        ]  # fmt: skip
        return self._frame(rows, "metric term value low high p unit")

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row a cell: ``cell``, a truth value a factor, and of each metric its value with ``low`` and ``high``.

        Intervals are of one cell by itself, as in `Replay.summary`. Differences between cells are known better.
        """
        import pandas as pd

        alone = {name: self._alone(name) for name in self.measured}
        rows: list[dict[str, Any]] = []
        for place, term in enumerate(self.replays):
            row: dict[str, Any] = {"cell": label(term), **{f: f in term for f in self.factors}}
            for name, found in alone.items():
                e = found[place]
                row |= {name: e.value, f"{name} low": e.low, f"{name} high": e.high}
            rows.append(row)
        return pd.DataFrame(rows).assign(origin=self.origin)

    def _alone(self, name: str) -> list[Estimate]:
        measure = MEASURES[name]
        values = paired(measure, list(self.replays.values()))[1]
        if measure.kind == "mean":
            return means(values)
        return [quantile(v, measure.q) if measure.kind == "quantile" else share(v) for v in values.T]

    @cached_property
    def additive(self) -> pd.DataFrame:
        """What the switches promise together from what each does alone, against what they do together.

        Returns
        -------
        DataFrame
            A row a metric and way of adding up: ``metric``, ``how`` ("sum" of the changes, or "product" of the
            ratios, left out where nothing on gives 0), ``nothing``; ``promised`` and ``measured`` for everything on;
            ``difference`` (measured less promised) with ``low``, ``high`` and ``p``; ``unit``, ``origin``.
        """
        ways: Sequence[How] = ("sum", "product")
        rows = []
        for name in PROMISED:
            for how in ways if name in self.measured else ():
                found, nothing = promise(self.measured[name], how), float(self.measured[name].value[0])
                said, came, e = found.promised.value, found.measured.value, found.difference
                if math.isfinite(said):
                    rows.append(
                        (name, how, nothing, said, came, e.value, e.low, e.high, found.p, MEASURES[name].unit)
                    )
        return self._frame(rows, "metric how nothing promised measured difference low high p unit")

    @cached_property
    def first_and_last(self) -> pd.DataFrame:
        """What each switch changes where it is the only one, and where all others are on already.

        Returns
        -------
        DataFrame
            ``metric``, ``factor``, ``when`` ("alone", "last"), ``value``, ``low``, ``high``, ``p``, ``unit``,
            ``origin``.
        """
        rows = []
        for name, cells in self.measured.items():
            for factor in self.factors:
                others = tuple(f for f in self.factors if f != factor)
                for when, before in (("alone", ()), ("last", others)):
                    off, on = cells.of(before), cells.of((*before, factor))
                    e, p = combine(
                        cells, float(cells.value[on] - cells.value[off]), cells.drawn[:, on] - cells.drawn[:, off]
                    )
                    rows.append((name, factor, when, e.value, e.low, e.high, p, MEASURES[name].unit))
        return self._frame(rows, "metric factor when value low high p unit")

    @cached_property
    def claimed(self) -> pd.DataFrame:
        """What a document states against what was measured: relative changes, as its units need not be ours.

        Returns
        -------
        DataFrame
            ``metric``; ``term``, a factor alone or "all"; ``how``: "stated", and for "all" also "sum" and "product"
            of what is stated of the factors, where something is of each; ``before``, ``after``, ``change`` as stated;
            ``measured``, the change here, with ``low`` and ``high``; ``verdict``: ``pass`` where at least as much is
            saved for certain, ``fail`` where less is, or ``inconclusive``; ``origin``.
        """
        rows = []
        for name, says in self.stated.items():
            cells = self.measured[name]
            for term, how, before, after in _claims(says, self.factors):
                on, change = cells.of(self.factors if term == EVERYTHING else (term,)), after / before - 1
                changes = cells.drawn[:, on] / cells.drawn[:, 0] - 1
                e, _ = combine(cells, float(cells.value[on] / cells.value[0]) - 1, changes)
                said = verdict(e.low, e.high, change)
                rows.append((name, term, how, before, after, change, e.value, e.low, e.high, said))
        return self._frame(rows, "metric term how before after change measured low high verdict")

    def _frame(self, rows: Sequence[tuple[Any, ...]], columns: str) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(rows, columns=columns.split()).assign(origin=self.origin)


def factorial(
    replays: Mapping[str, Replay] | Mapping[Collection[str], Replay],
    factors: Sequence[str] | None = None,
    *,
    stated: Claims | None = None,
    seed: int = 0,
    resamples: int = 5_000,
) -> Factorial:
    """Take replays of the same traffic with every combination of some switches as a factorial design.

    Parameters
    ----------
    replays : {switches that are on: Replay}
        All 2^k. A key is a tuple or set of names, or one text: ``"semantic cache + router"``, ``"nothing"``.
    factors : sequence of str, optional
        The switches in the order of tables; default: as they first appear.
    stated : {metric: {factor or "all": (before, after)}}, optional
        What a document says of each alone and of all: ``{"Mean": {"router": (850, 520), "all": (850, 200)}}``.
    seed, resamples : int
        Of the bootstrap, which draws runs of neighbouring requests (``results.batches``), the same in all cells.

    Raises
    ------
    InputError
        If a combination is missing or given twice, traffic differs, or what is stated names something unknown.
    """
    order, cells = arranged(replays, factors)
    measured: dict[str, Cells] = {}
    for name, measure in MEASURES.items():
        known, values = paired(measure, list(cells.values()))
        if len(values):
            runs = batches(len(known))[known]
            if measure.kind == "quantile":
                found = cell_quantiles(values, measure.q, order, clusters=runs, seed=seed, resamples=resamples)
            else:
                found = cell_means(values, order, clusters=runs, seed=seed, resamples=resamples)
            measured[name] = found
    for name, says in (stated or {}).items():
        _check(name, says, order, measured)
    return Factorial(order, cells, measured, stated or {})


def _check(
    name: str, says: Mapping[str, tuple[float, float]], factors: Sequence[str], measured: Mapping[str, Cells]
) -> None:
    if name not in measured:
        raise InputError(f"factorial: stated: no metric '{name}'{nearest(name, measured)}")
    if not measured[name].value[0] > 0:
        raise InputError(f"factorial: stated: {name} is 0 with nothing on; a relative change says nothing of it")
    for term, (before, after) in says.items():
        if term not in (*factors, EVERYTHING):
            raise InputError(f"factorial: stated: no factor '{term}'{nearest(term, (*factors, EVERYTHING))}")
        if not (0 < before < math.inf and 0 <= after < math.inf):
            raise InputError(f"factorial: stated: '{term}' goes from {before:g} to {after:g}; give numbers above 0")


def _claims(
    says: Mapping[str, tuple[float, float]], factors: Sequence[str]
) -> Iterator[tuple[str, str, float, float]]:
    """Yield what is stated, term by term, and what it adds up to where something is stated of every factor."""
    for term in (*factors, EVERYTHING):
        if term in says:
            yield (term, "stated", *says[term])
    if all(factor in says for factor in factors):
        before = says.get(EVERYTHING, says[factors[0]])[0]
        yield EVERYTHING, "sum", before, before + sum(says[f][1] - says[f][0] for f in factors)
        yield EVERYTHING, "product", before, before * math.prod(says[f][1] / says[f][0] for f in factors)
