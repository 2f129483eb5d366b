"""What an exact cache could save at best, read off a log of requests, before one is built.

A cache pays where questions repeat (repetition), where a repeat wants the answer of before (stability), and where an
answer may be as old as the cache makes it (freshness). All three are counted here, on the log as it is: shares of
this traffic, not estimates of another.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from evalkit.datasets import Traffic
from evalkit.datasets.traffic import Ingestion
from evalkit.errors import InputError
from evalkit.serving.arrivals import Arrival, arrivals_of
from evalkit.serving.keeping.keys import normalise

if TYPE_CHECKING:
    import pandas as pd

TTLS = (60.0, 300.0, 3600.0, 86_400.0, None)
SIZES = (100, 1000, None)


class Cached(NamedTuple):
    """What one cache would have given.

    Parameters
    ----------
    ttl : float or None
        Seconds from an entry's making; None: for ever.
    entries : int or None
        The most it holds, the one that was used last of all goes first; None: no bound.
    until : {"nothing", "ingestion"}
        Whether it is emptied when documents come or go.
    requests, hits : int
    judged, stale : int
        Hits of which the log states both answers, and those where they differ: the answer has changed since.
    """

    ttl: float | None
    entries: int | None
    until: str
    requests: int
    hits: int
    judged: int
    stale: int

    @property
    def hit_rate(self) -> float:
        """Hits of all requests."""
        return self.hits / self.requests

    @property
    def stale_share(self) -> float:
        """Stale hits of those judged; NaN where none is."""
        return self.stale / self.judged if self.judged else math.nan


@dataclass(frozen=True, eq=False)
class Cacheability:
    """What a log says about caching its answers.

    Parameters
    ----------
    repeats : {what must be equal: int}
        Requests that are like an earlier one: by their text, after folding (`normalise`), also of one tenant, and
        after the same questions in the same order where they belong to a conversation. The last is what `Cache` keys.
    per_tenant : {tenant: (requests, repeats)}
        Repeats by the last of these.
    pairs, changed : int
        Repeats of which the log states this answer and the last one, and those where they differ.
    caches : tuple of Cached
        Every TTL with every size. An answer is there as soon as it is asked for, so this is the best case.
    """

    repeats: Mapping[str, int]
    per_tenant: Mapping[str, tuple[int, int]] = field(repr=False)
    pairs: int
    changed: int
    caches: tuple[Cached, ...] = field(repr=False)

    @property
    def requests(self) -> int:
        """How many the log has."""
        return sum(requests for requests, _ in self.per_tenant.values())

    @property
    def repetition(self) -> float:
        """Share of requests that a cache without bounds would answer."""
        return sum(repeats for _, repeats in self.per_tenant.values()) / self.requests

    @property
    def stability(self) -> float:
        """Share of repeats that want the answer of the time before; NaN where the log states no answers."""
        return 1 - self.changed / self.pairs if self.pairs else math.nan

    def best(self, stale: float = 0.01) -> Cached | None:
        """Return the cache with the most hits among those with at most a share of stale ones.

        Where hits are equal the smaller cache is taken, then the shorter TTL. None: no cache with a hit is as fresh,
        or the log states no answers, so that nobody knows.
        """

        def small(cached: Cached) -> tuple[float, float, float]:
            size, ttl = (math.inf if bound is None else bound for bound in (cached.entries, cached.ttl))
            return -cached.hits, size, ttl

        fresh = [cached for cached in self.caches if cached.judged and cached.stale_share <= stale]
        return min(fresh, key=small, default=None)

    @property
    def table(self) -> pd.DataFrame:
        """One row a cache: ttl, entries, until, requests, hits, hit_rate, judged, stale, stale_share."""
        import pandas as pd

        rows = [{**one._asdict(), "hit_rate": one.hit_rate, "stale_share": one.stale_share} for one in self.caches]
        return pd.DataFrame(rows)


def cacheability(
    traffic: Traffic | Sequence[Arrival],
    *,
    ttls: Sequence[float | None] = TTLS,
    entries: Sequence[int | None] = SIZES,
    events: Sequence[Ingestion] = (),
) -> Cacheability:
    """Say what an exact cache of answers could have saved of some traffic.

    Parameters
    ----------
    traffic : Traffic or sequence of Arrival
        With the right answers of their times, if they are known: they tell what went stale.
    ttls : sequence of float or None
        Seconds.
    entries : sequence of int or None
        Sizes.
    events : sequence of Ingestion
        With any, each cache is also counted that they empty.

    Raises
    ------
    InputError
        For no requests, a TTL below 0, a size below 1.
    """
    if any(ttl is not None and not ttl >= 0 for ttl in ttls) or any(n is not None and n < 1 for n in entries):
        raise InputError("cacheability: TTLs are seconds from 0, sizes entries from 1; None is no bound")
    asked = arrivals_of(traffic)
    keys = _keys(asked)
    seen: dict[Hashable, str] = {}
    tenants: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    pairs = changed = 0
    for arrival, key in zip(asked, keys, strict=True):
        tenants[arrival.tenant][0] += 1
        tenants[arrival.tenant][1] += key in seen
        if arrival.answer and seen.get(key):
            pairs += 1
            changed += arrival.answer != seen[key]
        seen[key] = arrival.answer
    times = [event.at for event in events]
    modes: list[tuple[str, Sequence[float]]] = [("nothing", ()), *([("ingestion", times)] if times else [])]
    caches = [
        _simulated(asked, keys, ttl, size, until, ends) for until, ends in modes for ttl in ttls for size in entries
    ]
    return Cacheability(
        _repeats(asked, keys), {t: (n, r) for t, (n, r) in tenants.items()}, pairs, changed, tuple(caches)
    )


def _keys(asked: Sequence[Arrival]) -> list[Hashable]:
    """What `Cache` keys: the tenant, the question, and what was asked before in the conversation."""
    before: defaultdict[tuple[str, str], tuple[str, ...]] = defaultdict(tuple)
    keys: list[Hashable] = []
    for arrival in asked:
        talk, text = (arrival.tenant, arrival.conversation), normalise(arrival.text)
        keys.append((arrival.tenant, text, before[talk] if arrival.conversation else ()))
        before[talk] += (text,)
    return keys


def _repeats(asked: Sequence[Arrival], keys: Sequence[Hashable]) -> dict[str, int]:
    texts = [arrival.text for arrival in asked]
    folded = [normalise(text) for text in texts]
    own = [(arrival.tenant, text) for arrival, text in zip(asked, folded, strict=True)]
    every: dict[str, Sequence[Hashable]] = {"text": texts, "folded": folded, "tenant": own, "conversation": keys}
    return {name: sum(n - 1 for n in Counter(column).values()) for name, column in every.items()}


def _simulated(
    asked: Sequence[Arrival],
    keys: Sequence[Hashable],
    ttl: float | None,
    size: int | None,
    until: str,
    ends: Sequence[float],
) -> Cached:
    """Let the requests pass through a bounded dictionary whose entries age."""
    kept: OrderedDict[Hashable, tuple[float, str]] = OrderedDict()
    coming = sorted(ends, reverse=True)
    hits = judged = stale = 0
    for arrival, key in zip(asked, keys, strict=True):
        while coming and coming[-1] <= arrival.at:
            coming.pop()
            kept.clear()
        found = kept.get(key)
        if found is not None and (ttl is None or arrival.at - found[0] < ttl):
            hits += 1
            if arrival.answer and found[1]:
                judged += 1
                stale += arrival.answer != found[1]
        elif ttl != 0:
            kept[key] = arrival.at, arrival.answer
        if key in kept:
            kept.move_to_end(key)
        if size is not None and len(kept) > size:
            kept.popitem(last=False)
    return Cached(ttl, size, until, len(asked), hits, judged, stale)
