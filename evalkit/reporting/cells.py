"""The numbers that figures draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.evaluate.show import shown_metrics

if TYPE_CHECKING:
    from evalkit.evaluate.results import Results


@dataclass(frozen=True)
class Cell:
    """One number of the summary, with its interval."""

    value: float
    low: float
    high: float
    n: int


def cells(results: Results, metric: str) -> dict[str, Cell]:
    """Return a metric of every variant that has it, in the order of the variants.

    Raises
    ------
    InputError
        If the metric was not measured.
    """
    name = results.metric(metric)
    rows = results.summary[results.summary["metric"] == name]
    found = {
        str(r.variant): Cell(float(r.value), float(r.low), float(r.high), int(r.n))  # type: ignore[arg-type]
        for r in rows.itertuples()
        if math.isfinite(float(r.value))  # type: ignore[arg-type]
    }
    return {label: found[label] for label in results.systems if label in found}


def default_metrics(results: Results) -> list[str]:
    """Return the metrics of the short table whose numbers have intervals with two ends."""
    return [m for m in shown_metrics(results) if any(c.low < c.high < math.inf for c in cells(results, m).values())]


def right_edge(found: Sequence[Cell]) -> float:
    """Return where intervals without an upper end stop: a little beyond all that is finite."""
    ends = [x for cell in found for x in (cell.value, cell.low, cell.high) if math.isfinite(x)] or [0.0, 1.0]
    return max(ends) + 0.12 * ((max(ends) - min(ends)) or 1.0)
