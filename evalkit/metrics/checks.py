"""Checks that several metrics share."""

from __future__ import annotations

import math

from evalkit.metrics.base import Metric, MetricError

__all__: list[str] = []


def check_cutoff(metric: Metric, cutoff: object, field: str = "cutoff") -> None:
    """Refuse a cut-off that is neither None nor a positive whole number."""
    if cutoff is not None and (isinstance(cutoff, bool) or not isinstance(cutoff, int) or cutoff < 1):
        name = type(metric).__name__
        raise MetricError(f"{name}: {field} must be a whole number of at least 1, not {cutoff!r}")


def check_between(metric: Metric, field: str, low: float, high: float) -> None:
    """Refuse a field that is not a number strictly between `low` and `high`."""
    value = getattr(metric, field)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low < value < high:
        name = type(metric).__name__
        raise MetricError(f"{name}: {field} must lie between {low:g} and {high:g}, not {value!r}")


def check_choice(metric: Metric, field: str, choices: tuple[str, ...]) -> None:
    """Refuse a field that is not one of `choices`."""
    value = getattr(metric, field)
    if value not in choices:
        name = type(metric).__name__
        raise MetricError(f"{name}: {field} must be one of {', '.join(choices)}, not {value!r}")
