"""What requests used and what caches saved: calls, tokens, dollars, time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from evalkit.calls import Call, TokenUsage
from evalkit.llm.pricing import Prices
from evalkit.serving.results.outcomes import Outcome
from evalkit.values import Answers

KINDS = tuple(field.name for field in fields(TokenUsage))


def spending(outcomes: Sequence[Outcome], prices: Prices | None = None) -> dict[str, Any]:
    """Return, a value a request, what its calls used and what it was spared.

    Returns
    -------
    {column: values}
        ``calls``; ``<kind>_tokens``, tries that were given up included; ``usd``; ``saved_usd`` and ``saved_ms``, what
        the call cost and took that had made the answer of a hit. A model without a price costs nan; a model without
        a name costs nothing.
    """
    bill = Bill(prices)
    used = [[call.used for call in outcome.calls] for outcome in outcomes]
    tokens = {
        f"{kind}_tokens": np.array([sum(getattr(u, kind) for u in row) for row in used], dtype=np.int64)
        for kind in KINDS
    }
    saved = [_spared(outcome, bill) for outcome in outcomes]
    return {
        "calls": np.array([len(outcome.calls) for outcome in outcomes], dtype=np.int64),
        **tokens,
        "usd": np.array([math.fsum(map(bill.dollars, outcome.calls)) for outcome in outcomes]),
        "saved_usd": np.array([usd for usd, _ in saved]),
        "saved_ms": np.array([ms for _, ms in saved]),
    }


def unpriced(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many calls went to each model that the price list does not have."""
    bill = Bill()
    models = Counter(call.model for outcome in outcomes for call in outcome.calls)
    return {model: count for model, count in sorted(models.items()) if model and not bill.knows(model)}


def _spared(outcome: Outcome, bill: Bill) -> tuple[float, float]:
    if outcome.answers is None or "hit" not in outcome.notes:
        return 0.0, 0.0
    made = bill.made(outcome.answers)
    if made is None or made in outcome.calls:  # one that was made for this very request was not spared
        return 0.0, 0.0
    return bill.dollars(made), made.seconds * 1e3


class Bill:
    """What calls cost.

    Parameters
    ----------
    prices : Prices, optional
        Default: the project's list.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self.prices = prices if prices is not None else Prices.load()
        self._known: dict[str, bool] = {}
        self._made: dict[int, tuple[Answers, Call | None]] = {}

    def knows(self, model: str) -> bool:
        """Whether a model has a price."""
        if model not in self._known:
            self._known[model] = self.prices.knows(model)
        return self._known[model]

    def dollars(self, call: Call) -> float:
        """Return what a call cost, as `Prices.dollars`; nan for a model without a price, 0 for one without a name."""
        if not call.model:
            return 0.0
        return self.prices.dollars(call) if self.knows(call.model) else math.nan

    def made(self, answers: Answers) -> Call | None:
        """Return the call that made an answer, read once for all who were given it."""
        found = self._made.get(id(answers))
        if found is None:  # held beside the call, so that no other takes its id
            found = self._made[id(answers)] = (answers, answers.made()[0])
        return found[1]
