"""What a replay saw: one row a request, and what every layer and stage took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evalkit.calls import Call
from evalkit.metrics import P50, P95, P99, Mean
from evalkit.serving.arrivals import Arrival
from evalkit.serving.request import Event, Request
from evalkit.types import Origin
from evalkit.values import Answers

if TYPE_CHECKING:
    import pandas as pd


class Outcome(NamedTuple):
    """What became of one request.

    Parameters
    ----------
    number : int
    arrival : Arrival
    arrived, first, ended : float
        Seconds on the clock: when it was due, when its first piece came, when it was done.
    outcome : {"answered", "refused", "failed", "abandoned"}
    reason : str
        Why it got no answer.
    answers : Answers or None
    calls : tuple of Call
        What was asked of models for it.
    notes : {name: value}
        What layers wrote down.
    events : tuple of Event
    """

    number: int
    arrival: Arrival
    arrived: float
    first: float
    ended: float
    outcome: str
    reason: str
    answers: Answers | None
    calls: tuple[Call, ...]
    notes: Mapping[str, str | float]
    events: tuple[Event, ...]

    @classmethod
    def of(
        cls, arrival: Arrival, request: Request, answers: Answers | None, outcome: str, reason: str, ended: float
    ) -> Outcome:
        """Take down what a request came to."""
        first = request.first if request.first is not None and "hit" not in request.notes else ended
        return cls(
            request.number,
            arrival,
            request.arrived,
            min(first, ended),
            ended,
            outcome,
            reason,
            answers,
            tuple(request.calls),
            request.notes,
            tuple(request.events),
        )


@dataclass(frozen=True, eq=False)
class Replay:
    """What a replay saw.

    Parameters
    ----------
    outcomes : sequence of Outcome
        In order of arrival.
    origin : Origin
        ``modelled`` where the cost of work was given or the generator is modelled, else as the generator's times are.
    start : float
        When the traffic began, on the clock; tables count from it.
    failures : {error: count}
        What failed beside the requests: a write in the background.
    """

    outcomes: Sequence[Outcome] = field(repr=False)
    origin: Origin
    start: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def per_request(self) -> pd.DataFrame:
        """One row a request, in order of arrival, and what layers noted."""
        import pandas as pd

        return pd.DataFrame([_row(outcome, self.start) for outcome in self.outcomes])

    @property
    def summary(self) -> pd.DataFrame:
        """Latency in milliseconds: mean and percentiles, with intervals."""
        import pandas as pd

        found = {
            str(metric): metric.of(self.per_request["ms"].to_numpy()) for metric in (Mean(), P50(), P95(), P99())
        }
        rows = [(name, e.value, e.low, e.high, e.n, "ms", self.origin) for name, e in found.items()]
        return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "unit", "origin"])


def _row(o: Outcome, start: float) -> dict[str, object]:
    return {
        "text": o.arrival.text,
        "user": o.arrival.user,
        "tenant": o.arrival.tenant,
        "arrived": o.arrived - start,
        "ended": o.ended - start,
        "ms": float(np.float64(o.ended - o.arrived) * 1e3),
        "first_ms": float(np.float64(o.first - o.arrived) * 1e3),
        "outcome": o.outcome,
        "reason": o.reason,
        "answer": o.answers.text[0] if o.answers is not None else "",
        **o.notes,
    }
