"""From answers' calls to tokens and dollars, each call priced as of its own day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from evalkit.calls import Call, TokenUsage
from evalkit.llm.pricing import Price, Prices
from evalkit.metrics import CostMetric, Metric, Usage
from evalkit.variants import Variant

GENERATE = "generate"


def usage_of(calls: Sequence[Call | None], prices: Prices, stage: str = GENERATE) -> Usage:
    """Return what one call a query used; the tries that were given up count with it, at what is known of them.

    Parameters
    ----------
    calls : sequence of Call or None
        One a query; None where no model was called.
    prices : Prices
    stage : str
    """
    made = [(i, call) for i, call in enumerate(calls) if call is not None]
    used = [sum((attempt.usage for attempt in call.attempts), call.usage) for _, call in made]
    tokens = {f.name: np.array([getattr(one, f.name) for one in used], dtype=np.float64) for f in fields(TokenUsage)}
    return Usage(
        queries=max(len(calls), 1),
        query=np.array([i for i, _ in made], dtype=np.int64),
        model=[call.model for _, call in made],
        stage=[stage] * len(made),
        tokens=tokens,
        dollars=np.array([prices.dollars(call) if call.model else 0.0 for _, call in made], dtype=np.float64),
    )


def without_price(variants: Mapping[str, Variant], metrics: Iterable[Metric], prices: Prices) -> list[str]:
    """Say which models have no price, where dollars are asked for."""
    if not any(isinstance(metric, CostMetric) and metric.unit == "$" for metric in metrics):
        return []
    named = {getattr(variant.generate, "model", "") for variant in variants.values()}
    return [
        f"no price for model '{model}', which dollars are asked of; add it to a file and name that in EVALKIT_PRICES"
        for model in sorted(named)
        if model and not prices.knows(model)
    ]


def prices_used(calls: Iterable[Call | None], prices: Prices) -> list[dict[str, Any]]:
    """Return the rows of the price list that calls were priced by, as plain data."""
    rows: dict[Price, None] = {}
    for call in calls:
        if call is not None and call.model and prices.knows(call.model):
            rows[prices.of(call.model, call.day, call.usage.prompt)] = None
    return [{f.name: getattr(row, f.name) for f in fields(Price)} for row in rows]
