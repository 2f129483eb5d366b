"""What a sweep of a semantic cache found: which request would have been given whose answer, under every setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics import Lookups
from evalkit.serving.arrivals import Arrival
from evalkit.serving.layers.semantic import Guard
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.types import Origin

MISS = -1
"""Stands where no entry is given."""


@dataclass(frozen=True)
class Setting:
    """One semantic cache of a sweep; what is not named here they have in common.

    Parameters
    ----------
    rule : Threshold or Verified
    ttl : float or None
        Seconds from its making for which an entry may be given. None: for ever.
    guard : {"corpus", "context", "none"}
        As for `SemanticCache`.
    """

    rule: Threshold | Verified
    ttl: float | None
    guard: Guard

    @property
    def rule_label(self) -> str:
        """``0.95``, ``squared L2 0.05``, ``verified 0.02``."""
        if isinstance(self.rule, Verified):
            return f"verified {self.rule.error:g}"
        return f"{self.rule.at:g}" if self.rule.measure == "cosine" else f"{self.rule.measure} {self.rule.at:g}"


@dataclass(frozen=True, eq=False)
class ThresholdSweep:
    """What every setting of a semantic cache would have done with the same traffic.

    Parameters
    ----------
    arrivals : sequence of Arrival
        The n requests, in order of time.
    settings : tuple of Setting
        The s settings.
    given_by : int32 array of shape (s, n)
        Whose answer each request is given: a position in `makers`; `MISS` where the model is asked.
    precomputed : tuple of Arrival
        Whose answers were there before the traffic.
    seconds, usd : float64 arrays of shape (n,)
        What the model's call of each request takes and costs, where it is asked; nan where nobody knows.
    origin : Origin
        Of the times and prices. Decisions are worked out from them, not measured.
    failed : bool array of shape (n,)
        Whether the model's call gives no answer where it is made: it failed, was refused, or the user had left.
    """

    arrivals: Sequence[Arrival] = field(repr=False)
    settings: tuple[Setting, ...]
    given_by: Array = field(repr=False)
    precomputed: tuple[Arrival, ...] = field(default=(), repr=False)
    seconds: Array = field(default_factory=lambda: np.empty(0), repr=False)
    usd: Array = field(default_factory=lambda: np.empty(0), repr=False)
    origin: Origin = "modelled"
    failed: Array = field(default_factory=lambda: np.empty(0, dtype=np.bool_), repr=False)

    def __post_init__(self) -> None:
        for name in ("seconds", "usd"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(len(self.arrivals), math.nan))
        if not len(self.failed):
            object.__setattr__(self, "failed", np.zeros(len(self.arrivals), dtype=np.bool_))

    @property
    def makers(self) -> tuple[Arrival, ...]:
        """What `given_by` points into: the precomputed, then the requests."""
        return (*self.precomputed, *self.arrivals)

    @cached_property
    def hit(self) -> Array:
        """Whether a request is answered from the cache: bool of shape (s, n)."""
        return np.asarray(self.given_by != MISS)

    @cached_property
    def answered(self) -> Array:
        """Whether a request gets an answer, from the cache or from the model: bool of shape (s, n)."""
        return np.asarray(self.hit | ~self.failed)

    @cached_property
    def judged(self) -> Array:
        """Whether it can be said if what a request gets is right: bool of shape (s, n).

        Misses are, with an intent and an answer.

        A hit is judged as in `evalkit.serving.results.scoring.judge`: by the intents of the two requests and by their
        reference answers.
        """
        intent, _, answered = self._labels
        own = intent[len(self.precomputed) :] >= 0
        of = np.maximum(self.given_by, 0)
        same = intent[of] == intent[None, len(self.precomputed) :]
        clear = ~same | (answered[of] == answered[None, len(self.precomputed) :])
        return np.asarray(own[None] & self.answered & (~self.hit | ((intent[of] >= 0) & clear)))

    @cached_property
    def wrong(self) -> Array:
        """Whether a request is given a wrong answer: bool of shape (s, n); False where nobody knows."""
        return np.asarray(self.judged & self.hit & ~self._same)

    @cached_property
    def stale(self) -> Array:
        """Whether a wrong answer was right once: bool of shape (s, n), a part of `wrong`."""
        intent, _, _ = self._labels
        own = intent[len(self.precomputed) :]
        return np.asarray(self.wrong & (intent[np.maximum(self.given_by, 0)] == own[None]))

    @cached_property
    def _same(self) -> Array:
        """Whether intent and reference answer of a request are those of the entry it would be given."""
        intent, answer, _ = self._labels
        of, own = np.maximum(self.given_by, 0), slice(len(self.precomputed), None)
        return np.asarray((intent[of] == intent[None, own]) & (answer[of] == answer[None, own]))

    @cached_property
    def _labels(self) -> tuple[Array, Array, Array]:
        """Intents (-1: none) and reference answers of all makers, as numbers, and whether there is a reference."""
        intents: dict[str, int] = {"": -1}
        answers: dict[str, int] = {}
        for maker in self.makers:
            intents.setdefault(maker.intent, len(intents))
            answers.setdefault(maker.answer, len(answers))
        rows = self.makers
        return (
            np.array([intents[maker.intent] for maker in rows], dtype=np.int64),
            np.array([answers[maker.answer] for maker in rows], dtype=np.int64),
            np.array([bool(maker.answer) for maker in rows], dtype=np.bool_),
        )

    def find(
        self,
        threshold: float | Threshold | Verified,
        *,
        ttl: float | Literal["any"] | None = "any",
        guard: Guard | Literal["any"] = "any",
    ) -> int:
        """Return the position of the setting with a rule and this TTL and guard.

        A number is a cosine, and means one up to rounding.

        Raises
        ------
        InputError
            If there is none, or more than one.
        """

        def meant(rule: Threshold | Verified) -> bool:
            if isinstance(threshold, Threshold | Verified):
                return rule == threshold
            return isinstance(rule, Threshold) and rule.measure == "cosine" and abs(rule.at - threshold) < 1e-9

        found = [
            i
            for i, one in enumerate(self.settings)
            if meant(one.rule) and guard in ("any", one.guard) and ttl in ("any", one.ttl)
        ]
        if len(found) != 1:
            raise InputError(
                f"threshold sweep: {len(found)} settings with {threshold}, ttl {ttl}, guard {guard}; "
                f"name one of: {'; '.join(self.label(i) for i in range(len(self.settings))[:20])}"
            )
        return found[0]

    def label(self, setting: int) -> str:
        """Return what tells a setting from the others: its threshold, and TTL and guard where these vary."""
        one, parts = self.settings[setting], [self.settings[setting].rule_label]
        if len({each.guard for each in self.settings}) > 1:
            parts.append(f"guard {one.guard}")
        if len({each.ttl for each in self.settings}) > 1:
            parts.append("no TTL" if one.ttl is None else f"TTL {one.ttl:g} s")
        return ", ".join(parts)

    def lookups(self, setting: int, where: Array | None = None, *, clusters: Array | None = None) -> Lookups:
        """Return what the cache did with the requests that can be judged, as `evalkit.metrics.caching` takes it.

        Parameters
        ----------
        setting : int
        where : bool array of shape (n,), optional
            Only these requests.
        clusters : array of shape (n,), optional
        """
        known = self.judged[setting] if where is None else self.judged[setting] & where
        hit, wrong = self.hit[setting][known], self.wrong[setting][known]
        return Lookups(hit, hit & ~wrong, None, None if clusters is None else clusters[known])

    def entries(self, setting: int) -> Array:
        """Labels of what was given: requests with one label got one entry, and are right or wrong together.

        Returns
        -------
        int64 array of shape (n,)
            The maker's position; of a miss the request's own, which is the entry it makes.
        """
        own = np.arange(len(self.arrivals)) + len(self.precomputed)
        return np.where(self.hit[setting], self.given_by[setting], own)

    @cached_property
    def conversations(self) -> Array:
        """Labels of conversations: int64 of shape (n,). A request outside of one has its own."""
        known: dict[tuple[str, str, str], int] = {}
        labels = [
            known.setdefault((a.tenant, a.user, a.conversation), i) if a.conversation else i
            for i, a in enumerate(self.arrivals)
        ]
        return np.array(labels, dtype=np.int64)

    def kinds(self) -> tuple[str, ...]:
        """Kinds of requests, in order of their first.

        Raises
        ------
        InputError
            If one is called ``all``, which stands for all of them in tables.
        """
        found = tuple(kind for kind in dict.fromkeys(a.kind for a in self.arrivals) if kind)
        if "all" in found:
            raise InputError("threshold sweep: a kind of request is called 'all', as the row of all; rename it")
        return found

    def of_kind(self, kind: str) -> Array:
        """Whether a request is of a kind, or of a kind of trap (``trap`` is all of them): bool of shape (n,)."""
        return np.array([kind in (a.kind, a.kind.partition(":")[0]) for a in self.arrivals], dtype=np.bool_)


def same_requests(first: ThresholdSweep, second: ThresholdSweep) -> bool:
    """Whether two sweeps are of the same traffic: who asked what when, and what was right."""
    if first.arrivals is second.arrivals:
        return True
    names = ("at", "text", "user", "tenant", "conversation", "history", "intent", "answer", "kind")
    one, other = ([[getattr(a, name) for name in names] for a in sweep.arrivals] for sweep in (first, second))
    return one == other
