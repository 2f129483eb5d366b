"""From answers' calls to tokens and dollars, each call priced as of its own day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from evalkit.calls import Call, TokenUsage
from evalkit.llm.pricing import Price, Prices
from evalkit.metrics import CostMetric, Metric, Usage
from evalkit.variants import Variant

GENERATE = "generate"


def usage_of(calls: Sequence[Call | None], prices: Prices, *, priced: bool = True, stage: str = GENERATE) -> Usage:
    """Return what one call a query used; the tries that were given up count with it, at what is known of them.

    Parameters
    ----------
    calls : sequence of Call or None
        One a query; None where no model was called.
    prices : Prices
    priced : bool
        False: dollars are not asked for, and are 0.
    stage : str

    Raises
    ------
    InputError
        If dollars are asked for and a model has no price.
    """
    made = [(i, call) for i, call in enumerate(calls) if call is not None]
    used = [call.used for _, call in made]
    tokens = {f.name: np.array([getattr(one, f.name) for one in used], dtype=np.float64) for f in fields(TokenUsage)}
    return Usage(
        queries=max(len(calls), 1),
        query=np.array([i for i, _ in made], dtype=np.int64),
        model=[call.model for _, call in made],
        stage=[stage] * len(made),
        tokens=tokens,
        dollars=np.array([prices.dollars(c) if priced and c.model else 0.0 for _, c in made], dtype=np.float64),
    )


def without_price(variants: Mapping[str, Variant], metrics: Iterable[Metric], prices: Prices) -> list[str]:
    """Say which models have no price, where dollars are asked for."""
    if not any(isinstance(metric, CostMetric) and metric.unit == "$" for metric in metrics):
        return []
    named = {model for variant in variants.values() for model in _models(variant.generate)}
    return [
        f"no price for model '{model}', which dollars are asked of; add it to a file and name that in EVALKIT_PRICES"
        for model in sorted(named)
        if model and not prices.knows(model)
    ]


def _models(generator: object) -> Iterator[str]:
    """The models that a generator and those within it call."""
    yield getattr(generator, "model", "")
    if (inner := getattr(generator, "generator", None)) is not None:
        yield from _models(inner)


def lower_bounds(calls: Mapping[str, Sequence[Call | None]]) -> dict[str, int]:
    """Return, for a manifest, of how many calls of each system tokens and dollars are lower bounds."""
    found = {}
    for label, made in calls.items():
        short = sum(call is not None and call.at_least for call in made)
        if short:
            found[f"{label}: a final usage did not arrive, so tokens and dollars are lower bounds"] = short
    return found


def prices_used(calls: Iterable[Call | None], prices: Prices) -> list[dict[str, Any]]:
    """Return the rows of the price list that calls were priced by, as plain data."""
    rows: dict[Price, None] = {}
    for call in calls:
        if call is not None and call.model and prices.knows(call.model):
            rows[prices.of(call.model, call.day, call.usage.prompt)] = None
    return [{f.name: getattr(row, f.name) for f in fields(Price)} for row in rows]
