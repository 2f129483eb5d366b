"""A seeded generator of traffic: days like those of a service desk, made of a data set's intents."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.intents import Intent
from evalkit.datasets.traffic import DAY, Traffic
from evalkit.errors import InputError

_MINUTES = 1_440
_MOST_TRIES = 10_000
_THINKING = (20.0, 90.0)  # seconds between the turns of a conversation


@dataclass(frozen=True)
class Day:
    """What a generated day is like.

    Parameters
    ----------
    requests : int
    users : int
        Each belongs to one tenant.
    zipf : float
        Popularity of the intent of rank r is proportional to ``1 / r ** zipf``, in every tenant by itself.
    paraphrased, trapped, conversing : float
        Shares of requests that come as paraphrases, as traps and within conversations; the rest is in plain form.
    morning, afternoon : float
        Hours at which most requests come.
    bursts : int
        Short times in which one intent is asked by many at once.
    burst_size : int
        Requests in a burst.
    tenants : {tenant: share} as pairs
        Share of each tenant's requests.
    """

    requests: int = 6_000
    users: int = 600
    zipf: float = 1.0
    paraphrased: float = 0.5
    trapped: float = 0.12
    conversing: float = 0.08
    morning: float = 10.5
    afternoon: float = 15.0
    bursts: int = 4
    burst_size: int = 60
    tenants: tuple[tuple[str, float], ...] = (("retail", 0.75), ("business", 0.25))

    def __post_init__(self) -> None:
        object.__setattr__(self, "tenants", tuple(dict(self.tenants).items()))
        whole: tuple[Any, ...] = (self.requests, self.users, self.bursts, self.burst_size)
        numbers: tuple[Any, ...] = (
            self.zipf,
            self.paraphrased,
            self.trapped,
            self.conversing,
            *dict(self.tenants).values(),
        )
        sound: list[Any] = [type(n) is int for n in whole] + [isinstance(n, int | float) and n >= 0 for n in numbers]
        if not all(sound):
            raise InputError("Day: requests, users, bursts and burst_size are whole numbers; no number is below 0")
        shares = (self.paraphrased, self.trapped, self.conversing)
        if self.requests < 1 or self.users < len(self.tenants) or min(self.zipf, self.bursts, self.burst_size) < 0:
            raise InputError(
                "Day: requests must be at least 1, users at least one a tenant, zipf and bursts at least 0"
            )
        if min(shares) < 0 or sum(shares) > 1 or abs(sum(share for _, share in self.tenants) - 1) > 1e-9:
            raise InputError("Day: paraphrased, trapped and conversing are shares of 1 in all; so are the tenants'")
        if self.bursts * self.burst_size > self.requests:
            raise InputError(f"Day: {self.bursts} bursts of {self.burst_size} are more than {self.requests} requests")


def generate_traffic(data: Dataset, day: Day | None = None, *, seed: int = 0) -> Traffic:
    """Make a day of requests from a data set's intents, conversations and ingestion events.

    Arrivals follow a daily curve with two peaks (drawn by the inverse of its distribution), bursts lie on top; who
    asks and how is drawn independently. While the document with an intent's answer has not come in, the older answer
    is the right one; what no document there answers is not asked. Only ``random()`` of a PCG64 stream is used, so
    that a seed gives the same day under every version of NumPy.

    Parameters
    ----------
    data : Dataset
        With intents.
    day : Day, optional
    seed : int

    Returns
    -------
    Traffic

    Raises
    ------
    InputError
        If a tenant has no intent.
    """
    day = day or Day()
    if missing := [t for t, _ in day.tenants if t not in {intent.tenant for intent in data.intents.values()}]:
        raise InputError(f"traffic: data set {data.name} has no intent of tenant '{missing[0]}'; see Day.tenants")
    return Traffic.of(list(_Generator(data, day, seed).requests()))


class _Generator:
    def __init__(self, data: Dataset, day: Day, seed: int) -> None:
        self.day, self.random = day, np.random.Generator(np.random.PCG64(seed)).random
        self._tries = 0
        self.comes = {name: event.at for event in data.events for name in event.added}
        self.goes = {name: event.at for event in data.events for name in event.removed}
        names = [name for name, _ in day.tenants]
        intents, talks = sorted(data.intents.items()), sorted(data.conversations.items())
        self.ranked = {t: self._shuffled([i for _, i in intents if i.tenant == t]) for t in names}
        self.talks = {t: [c for _, c in talks if c.tenant == t] for t in names}
        self.popularity = {
            t: _cumulated([1 / r**day.zipf for r in range(1, len(i) + 1)]) for t, i in self.ranked.items()
        }
        self.shares = _cumulated([share for _, share in day.tenants])
        self.daily = _cumulated(_curve(day).tolist())

    def requests(self) -> Iterator[dict[str, Any]]:
        left = self.day.requests
        for _ in range(self.day.bursts):
            yield from self._burst()
            left -= self.day.burst_size
        talking = min(round(self.day.conversing * self.day.requests), left)
        while talking > 0 and any(self.talks.values()):
            turns = list(self._talk())[:talking]
            talking -= len(turns)
            left -= len(turns)
            yield from turns
            self._tried(bool(turns))
        while left > 0:
            tenant, at = self._tenant(), self._at()
            intent = self._intent(tenant)
            known = self._known(intent, at)
            if known:
                left -= 1
                yield self._ask(at, tenant, intent)
            self._tried(known)

    def _burst(self) -> Iterator[dict[str, Any]]:
        """Many users ask one thing within minutes: an outage, a letter that went to everyone."""
        tenant, start = self._tenant(), self._at()
        intent = self._intent(tenant)
        while not (self._known(intent, start) and self._known(intent, DAY)):
            intent = self._intent(tenant)
            self._tried(found=False)
        self._tried(found=True)
        for _ in range(self.day.burst_size):
            yield self._ask(min(start - 240 * np.log1p(-self.random()), DAY - 1), tenant, intent, trapped=False)

    def _tried(self, found: bool) -> None:
        """Give up where nothing can be asked: a day would never end."""
        self._tries = 0 if found else self._tries + 1
        if self._tries > _MOST_TRIES:
            raise InputError(
                "traffic: hardly a document that answers anything is there; look at the data set's events"
            )

    def _talk(self) -> Iterator[dict[str, Any]]:
        tenant = self._tenant()
        if not self.talks[tenant]:
            tenant = next(t for t, talks in self.talks.items() if talks)
        talk, at, user = self._one_of(self.talks[tenant]), self._at(), self._user(tenant)
        if not all(self._there(span.document, at) for turn in talk.turns for span in turn.evidence):
            return
        name = f"{talk.name}#{int(self.random() * 1e6):06d}"
        for i, turn in enumerate(talk.turns):
            yield {
                "at": round(min(at, DAY - 1), 3), "user": user, "tenant": tenant, "text": turn.user,
                "intent": f"{talk.name}/{i}", "answer": turn.answer, "kind": "conversation",
                "conversation": name, "turn": i,
            }  # fmt: skip
            at += _THINKING[0] + (_THINKING[1] - _THINKING[0]) * self.random()

    def _ask(self, at: float, tenant: str, intent: Intent, *, trapped: bool = True) -> dict[str, Any]:
        at, draw = round(float(at), 3), self.random()
        name, text, kind, answer = intent.name, intent.text, "canonical", self._answer(intent, at)
        traps = [(i, trap) for i, trap in enumerate(intent.traps) if self._there(trap.document, at)]
        if draw < self.day.paraphrased and intent.paraphrases:
            text, kind = self._one_of(intent.paraphrases), "paraphrase"
        elif trapped and draw >= 1 - self.day.trapped and traps:
            number, trap = self._one_of(traps)
            name, text, kind, answer = f"{intent.name}!{number}", trap.text, f"trap: {trap.kind}", trap.answer
        return {
            "at": at, "user": self._user(tenant), "tenant": tenant, "text": text, "intent": name,
            "answer": answer, "kind": kind,
        }  # fmt: skip

    def _there(self, document: str, at: float) -> bool:
        return self.comes.get(document, 0.0) <= at < self.goes.get(document, np.inf)

    def _outdated(self, intent: Intent, at: float) -> bool:
        return intent.before is not None and not self._there(intent.before[0], at)

    def _known(self, intent: Intent, at: float) -> bool:
        """Whether the documents that are there answer it."""
        return self._outdated(intent, at) or all(self._there(span.document, at) for span in intent.evidence)

    def _answer(self, intent: Intent, at: float) -> str:
        return intent.before[1] if intent.before and self._outdated(intent, at) else intent.answer

    def _tenant(self) -> str:
        return self.day.tenants[bisect_left(self.shares, self.random())][0]

    def _intent(self, tenant: str) -> Intent:
        return self.ranked[tenant][bisect_left(self.popularity[tenant], self.random())]

    def _user(self, tenant: str) -> str:
        """Few users ask often: their popularity falls with the square root of their rank."""
        share = dict(self.day.tenants)[tenant]
        return f"{tenant}-{int(max(1, round(self.day.users * share)) * self.random() ** 2):04d}"

    def _at(self) -> float:
        minute = bisect_left(self.daily, self.random())
        return round((minute + self.random()) * DAY / _MINUTES, 3)

    def _one_of(self, items: Sequence[Any]) -> Any:
        return items[int(self.random() * len(items))]

    def _shuffled(self, items: list[Intent]) -> list[Intent]:
        return [item for _, item in sorted(((self.random(), i) for i in items), key=lambda pair: pair[0])]


def _curve(day: Day) -> Array:
    """Requests by minute: a floor at night, a peak before noon and a flatter one after it."""
    hours = np.arange(_MINUTES) / 60
    bumps = 1.0 * np.exp(-((hours - day.morning) ** 2) / 4.5) + 0.8 * np.exp(-((hours - day.afternoon) ** 2) / 10)
    return np.asarray(0.03 + bumps)


def _cumulated(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [*(min(part / total, 1.0) for part in accumulate(weights[:-1])), 1.0]
