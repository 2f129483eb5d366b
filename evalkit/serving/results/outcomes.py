"""What a replay saw: one row a request, and what every layer and stage took."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit import fingerprint
from evalkit.calls import Call
from evalkit.metrics import Lookups
from evalkit.served import Event
from evalkit.serving.arrivals import Arrival
from evalkit.serving.request import Request
from evalkit.types import Origin
from evalkit.values import Answers

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.serving.results.flat import Flat
    from evalkit.serving.results.targets import Targets


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
        ended = max(ended, request.arrived)  # what took no time may end a rounding before it was due
        first = request.first if request.first is not None and "hit" not in request.notes else ended
        return cls(
            request.number,
            arrival,
            request.arrived,
            min(max(first, request.arrived), ended),
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
    """What a replay saw. Tables are worked out when they are first looked at.

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
    warm : sequence of Outcome
        Of requests that stand in no table but made entries which others hit: those before the traffic, and those
        that `where` left out.
    states : {layer: {what: count}}
        What became of each layer's storage: look-ups, hits, evictions, bytes, and the errors of a server that was
        gone. Not part of the digest; not written to disk.
    """

    outcomes: Sequence[Outcome] = field(repr=False)
    origin: Origin
    start: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    warm: Sequence[Outcome] = field(default=(), repr=False)
    states: Mapping[str, Mapping[str, int]] = field(default_factory=dict, repr=False)

    @cached_property
    def per_request(self) -> pd.DataFrame:
        """One row a request, in order of arrival.

        Returns
        -------
        DataFrame
            What was asked: ``number``, ``text``, ``user``, ``tenant``, ``conversation``, ``kind``, ``intent``.
            Times: ``arrived`` and ``ended`` in seconds from the traffic's start, ``ms``, ``first_ms`` (to the first
            piece that was handed on; to the end where the answer came whole), ``queue_ms`` (waits for a core) and
            ``ms[<layer or stage>]``, its own time (see `evalkit.serving.results.tables.own_times`).
            What came of it: ``outcome``, ``reason``, ``answer``, ``hit`` (the layer, and its level, that gave an
            answer made before; else empty), ``made_by``.
            What it took: ``calls``, ``<kind>_tokens``, ``usd`` (nan where a model has no price: see `unpriced`),
            ``saved_usd`` and ``saved_ms`` (what the call cost and took that had made a hit's answer).
            Of hits: ``wrong`` and ``stale``, None where nobody can know (see ``results.scoring.judge``).
            Then a column for each note that a layer made.
        """
        from evalkit.serving.results.tables import per_request

        return per_request(self).assign(origin=self.origin)

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row an event: ``request``, ``name``, ``kind``; ``start``, ``began``, ``end`` in seconds."""
        from evalkit.serving.results.tables import events

        return events(self)

    def per_second(self, width: float = 1.0) -> pd.DataFrame:
        """One row for every `width` seconds.

        Returns
        -------
        DataFrame
            ``second`` (its begin), ``arrivals``; ``in_flight``, requests under way, the mean over the row's time; by
            when they ended: ``ended``, ``hits``, ``answered``, ``refused``, ``failed``, ``abandoned``, and of those
            answered ``p50_ms`` and ``p95_ms``, nan where there is none.
        """
        from evalkit.serving.results.tables import per_second

        return per_second(self, width).assign(origin=self.origin)

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """Token F1 of each answer against the request's reference answer.

        0 for a request without an answer, nan for one without a reference. Shape (requests,).
        """
        from evalkit.serving.results.scoring import quality

        return quality(self.outcomes)

    def lookups(self, kind: str | None = None, *, clustered: bool = False) -> Lookups:
        """Return what caches did, for the metrics of `evalkit.metrics.caching`.

        Requests without an intent are left out, and hits of which nobody knows whether they were right.

        Parameters
        ----------
        kind : str, optional
            Only requests of this `Arrival.kind`.
        clustered : bool
            Requests of one intent are not independent: intervals allow for it.
        """
        from evalkit.serving.results.scoring import lookups

        return lookups(self, kind, clustered=clustered)

    @cached_property
    def caching(self) -> pd.DataFrame:
        """What caches answered, rightly or not, and what it saved, over all requests and by their kind.

        Returns
        -------
        DataFrame
            ``kind``, ``metric``, ``value``, ``low``, ``high``, ``n``, ``of`` (what `n` counts), ``unit``, ``origin``.
            Rates by level divide by all requests, whatever became of them. Intervals of shares are Clopper-Pearson's.
        """
        from evalkit.serving.results.scoring import caching

        return caching(self)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a number, with its 95 % interval; see `evalkit.serving.results.summary.summarise`."""
        from evalkit.serving.results.summary import summarise

        return summarise(self)

    def check(self, targets: Targets) -> pd.DataFrame:
        """Say for each target whether it is met: ``pass``, ``fail``, or ``inconclusive``; see `Targets`."""
        from evalkit.serving.results.targets import check

        return check(self, targets)

    def where(self, **wanted: str | bool) -> Replay:
        """Return the requests whose columns of `per_request` hold given values.

        A truth value asks whether there is anything: ``where(hit=True, kind="paraphrase")``. What is left out still
        says whether hits were right.

        Raises
        ------
        InputError
            If there is no such column, or no such request.
        """
        from evalkit.serving.results.summary import chosen

        mask = chosen(self, wanted)
        kept = [outcome for outcome, keep in zip(self.outcomes, mask, strict=True) if keep]
        rest = [outcome for outcome, keep in zip(self.outcomes, mask, strict=True) if not keep]
        return Replay(kept, self.origin, self.start, self.failures, (*self.warm, *rest), self.states)

    @cached_property
    def unpriced(self) -> Mapping[str, int]:
        """Calls to models that the price list does not have."""
        from evalkit.serving.results.spending import unpriced

        return unpriced(self.outcomes)

    @cached_property
    def flat(self) -> Flat:
        """The outcomes as columns."""
        from evalkit.serving.results.flat import Flat

        return Flat.of(self.outcomes)

    @cached_property
    def digest(self) -> str:
        """Hash of what became of every request and when: outcomes, times, answers, calls, notes and events.

        Two replays of recorded work have the same, in every process.
        """
        from evalkit.serving.results.flat import Flat

        return fingerprint.digest([self.flat.digest, Flat.of(self.warm).digest, self.start, dict(self.failures)])

    def save(self, folder: str | os.PathLike[str], note: Mapping[str, Any] | None = None) -> Path:
        """Write everything into a folder, whole or not at all; see `evalkit.serving.results.saving.save`."""
        from evalkit.serving.results.saving import save

        return save(self, folder, note)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Replay:
        """Read what `save` wrote; see `evalkit.serving.results.saving.load`."""
        from evalkit.serving.results.saving import load

        return load(folder)
