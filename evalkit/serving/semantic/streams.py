"""Does a rule keep its promise? Streams of requests in a world where it is known how often an entry is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics import Estimate
from evalkit.metrics.statistics import mean_interval
from evalkit.serving.semantic import curves
from evalkit.serving.semantic.decisions import Rule, Threshold, Verified
from evalkit.serving.semantic.drawn import Work, drawn, put, right_of
from evalkit.serving.semantic.worlds import World

_BLOCK = 128
"""Entries that are worked at together: few enough that what is known of them stays near the processor."""
_FEW = 100
_PLACES = np.array([0.1, 0.4, 0.7, 0.95])
"""Where those may ask who ask where it hurts: shares of the way from the floor to 1."""


class Cell(NamedTuple):
    """The probability of a wrong answer at the same request of all entries with one curve.

    Parameters
    ----------
    curve : int
        Its place in the world.
    request : int
        Of the entry, from 1: the first after the one that made it.
    mean, low, high : float
        Mean of what the rule's chance times that of being wrong was, and an interval that holds for all cells at
        once (normal approximation, Bonferroni).
    n : int
        Entries, over all streams.
    """

    curve: int
    request: int
    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Streams:
    """What a rule did in simulated streams.

    Parameters
    ----------
    rule : Rule
    world : World
    requests : int
        Of every stream.
    given, wrong : float64 arrays of shape (streams,)
        Shares of all answers: from the cache, and from the cache and wrong.
    expected : float64 array of shape (streams,)
        Mean over all answers of the rule's chance times that of being wrong: its expectation is that of `wrong`, and
        it hangs less on luck.
    early, late : float64 arrays of shape (streams,)
        `expected` of the first and of the last quarter of a stream.
    cells : tuple of Cell
        By curve and request, those of at least 100 entries.
    """

    rule: Rule
    world: World
    requests: int
    given: Array = field(repr=False)
    wrong: Array = field(repr=False)
    expected: Array = field(repr=False)
    early: Array = field(repr=False)
    late: Array = field(repr=False)
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def wrong_of_hits(self) -> Array:
        """Share of wrong ones among hits: float64 of shape (streams,); nan where there is no hit."""
        return np.divide(self.wrong, self.given, out=np.full_like(self.wrong, np.nan), where=self.given > 0)

    @property
    def worst(self) -> Cell | None:
        """The cell whose interval begins highest: where a promise is broken, if anywhere. None: there is no cell."""
        return max(self.cells, key=lambda cell: (cell.low, cell.mean), default=None)

    def estimate(self, name: str = "expected") -> Estimate:
        """Return the mean over streams of an array, with its interval; of ``wrong_of_hits``, wrong hits / hits."""
        if name == "wrong_of_hits":
            hits = np.rint(self.given * self.requests).astype(np.int64)
            if not hits.any():
                return Estimate(float("nan"), 0.0, 1.0, 0, "undefined: no hits")
            labels, wrong = np.repeat(np.arange(len(hits)), hits), np.zeros(int(hits.sum()))
            wrong[_first_of(hits, np.rint(self.wrong * self.requests).astype(np.int64))] = 1.0
            return mean_interval(wrong, clusters=labels)
        return mean_interval(getattr(self, name))

    def verdict(self, error: float) -> str:
        """Say whether the share of wrong answers, and the chance of one at every single request, is at most `error`.

        Returns
        -------
        str
            ``holds``: the interval of the mean ends at or below it, and no cell's begins above. ``broken``: one of
            them begins above it. ``open``: neither.
        """
        found = self.estimate()
        if found.low > error or (self.worst is not None and self.worst.low > error):
            return "broken"
        return "holds" if found.high <= error else "open"


def simulate(rule: Rule, world: World, requests: int = 1_000, streams: int = 1_000, seed: int = 0) -> Streams:
    """Let a rule decide over streams of requests.

    The first request of an entry makes it and is answered by the model. After that the rule's chance decides, by a
    draw; where the entry is not given, and the rule learns, the observation counts `World.delay` requests later.

    Parameters
    ----------
    rule : Rule
        `Verified` decides by its own arithmetic for many entries at once, which gives what it gives for one at a time
        up to rounding. Any other rule that learns needs ``observed(similarity, seen, right)``.
    world : World
    requests, streams : int
        Requests of each stream; streams. Stream i is the same however many there are, and whatever the rule.
    seed : int

    Raises
    ------
    InputError
        If there is nothing to simulate, or similarities at the centres of bins are not at those of the rule's.
    """
    if requests < 4 or streams < 1:
        raise InputError(f"simulate: {streams} streams of {requests} requests; give at least 1 of at least 4")
    if isinstance(rule, Verified) and world.centres and rule.floor != world.floor:
        raise InputError(f"simulate: the floor of '{world.name}' is {world.floor}, the rule's {rule.floor}; take one")
    work = drawn(world, requests, streams, seed)
    starts = np.flatnonzero(work.age == 0)
    sizes = np.diff(starts, append=len(work.age))
    order = np.argsort(-sizes, kind="stable")  # all of one block have about as many requests
    for block in np.array_split(order, -(-len(order) // _BLOCK)):
        _serve(rule, world, work, starts[block], sizes[block])
    hurt = work.chance * (1 - work.right)
    wrong = work.given & (work.luck >= work.right)
    given, wrong, expected = (share.reshape(streams, requests).mean(axis=1) for share in (work.given, wrong, hurt))
    first, last = work.time < requests / 4, work.time >= requests * 3 / 4
    early, late = (hurt[span].reshape(streams, -1).mean(axis=1) for span in (first, last))
    return Streams(rule, world, requests, given, wrong, expected, early, late, _cells(work, hurt))


def plain_threshold(
    world: World, error: float, requests: int = 1_000, streams: int = 1_000, seed: int = 0
) -> Threshold | None:
    """Return the lowest threshold that gives wrong answers in at most a share of all: chosen on these very streams.

    Parameters are those of `simulate`; with the same ones the streams are the same. None: there is no such threshold.
    """
    work = drawn(world, requests, streams, seed)
    order = np.argsort(-work.similarity, kind="stable")
    similarity = work.similarity[order]
    wrong = np.cumsum(((work.age > 0) & (work.luck >= work.right))[order]) / (requests * streams)
    last = np.append(similarity[1:] != similarity[:-1], True)  # equal similarities are given together
    within = np.flatnonzero(last & (wrong <= error))
    return Threshold(float(similarity[within[-1]])) if len(within) else None


def _serve(rule: Rule, world: World, work: Work, starts: Array, sizes: Array) -> None:
    """Decide all requests of some entries, those with the most requests first."""
    size = len(starts)
    known: _Known = _Together(rule, size) if isinstance(rule, Verified) else _EachByItself(rule, size)
    told = np.ones(len(starts), dtype=np.int64)  # of which request the model's answer is known next
    born = np.zeros(len(starts), dtype=np.int64)  # before which request nothing is observed
    for age in range(1, int(sizes.max())):
        rows = np.arange(np.count_nonzero(sizes > age))
        at = starts[rows] + age
        while rule.learns:
            waiting = told[rows] < age
            waiting[waiting] = work.time[starts[rows] + told[rows]][waiting] + world.delay < work.time[at][waiting]
            if not waiting.any():
                break
            ready = rows[waiting]
            asked, old = starts[ready] + told[ready], told[ready] < born[ready]
            told[ready] += 1
            seen = ~work.given[asked] & ~old & known.near(work.similarity[asked])
            ready, asked = ready[seen], asked[seen]
            right = work.luck[asked] < work.right[asked]
            known.observe(ready, work.similarity[asked], right)
            if world.moves:
                known.forget(ready[~right])
                born[ready[~right]] = age
        if world.asks == "where it hurts":
            _ask_where_it_hurts(world, work, known, rows, at)
        work.chance[at] = known.chance(rows, work.similarity[at])
        work.given[at] = work.draw[at] < work.chance[at]


def _ask_where_it_hurts(world: World, work: Work, known: _Known, rows: Array, at: Array) -> None:
    """Put requests where a wrong answer is likeliest to be given; where none would be, leave them."""
    places = put(world, world.floor + (1 - world.floor) * _PLACES)
    everywhere = [np.full(len(at), place) for place in places]
    right = np.array([right_of(world, work.curve[at], np.zeros(len(at), dtype=np.bool_), s) for s in everywhere])
    hurts = np.array([known.chance(rows, s) for s in everywhere]) * (1 - right)
    some = np.flatnonzero(hurts.max(axis=0) > 0)
    best = hurts.argmax(axis=0)[some]
    work.similarity[at[some]], work.right[at[some]] = places[best], right[best, some]


class _Known(Protocol):
    """What a rule knows of many entries; all arrays are of shape (n,), `rows` says of which entries."""

    def near(self, similarity: Array) -> Array: ...
    def chance(self, rows: Array, similarity: Array) -> Array: ...
    def observe(self, rows: Array, similarity: Array, right: Array) -> None: ...
    def forget(self, rows: Array) -> None: ...


class _Together:
    """`Verified`, for many entries at once."""

    def __init__(self, rule: Verified, size: int) -> None:
        self._rule, self._many = rule, curves.Many(size)

    def near(self, similarity: Array) -> Array:
        return np.asarray(similarity >= self._rule.floor)

    def chance(self, rows: Array, similarity: Array) -> Array:
        bins = self._bins(similarity)
        mean, evidence = self._many.mean(rows, bins), np.zeros(len(rows))
        some = self.near(similarity) & (self._rule.allowed(mean, np.inf) > 0)  # the others need no evidence
        evidence[some] = self._many.evidence(rows[some], bins[some])
        return self._rule.allowed(mean, evidence)

    def observe(self, rows: Array, similarity: Array, right: Array) -> None:
        self._many.observe(rows, self._bins(similarity), right)

    def forget(self, rows: Array) -> None:
        self._many.forget(rows)

    def _bins(self, similarity: Array) -> Array:
        return np.array([self._rule.bin(float(s)) for s in similarity], dtype=np.int64)


class _EachByItself:
    """Any rule, by what it says of one entry."""

    def __init__(self, rule: Any, size: int) -> None:
        self._rule = rule
        self._seen: list[Any] = [()] * size

    def near(self, similarity: Array) -> Array:
        near = getattr(self._rule, "near", None)
        return np.array([near is None or near(float(s)) for s in similarity], dtype=np.bool_)

    def chance(self, rows: Array, similarity: Array) -> Array:
        pairs = zip(rows, similarity, strict=True)
        return np.array([self._rule.chance(float(s), self._seen[row]) for row, s in pairs], dtype=np.float64)

    def observe(self, rows: Array, similarity: Array, right: Array) -> None:
        for row, s, yes in zip(rows, similarity, right, strict=True):
            self._seen[row] = self._rule.observed(float(s), self._seen[row], bool(yes))

    def forget(self, rows: Array) -> None:
        for row in rows:
            self._seen[row] = ()


def _cells(work: Work, hurt: Array) -> tuple[Cell, ...]:
    """Return the mean of what hurts by curve and request."""
    from scipy.stats import norm

    longest = int(work.age.max()) + 1
    label = (work.curve * longest + work.age)[work.age > 0]
    some = hurt[work.age > 0]
    n, sums, squares = (np.bincount(label, weights) for weights in (None, some, some**2))
    found = np.flatnonzero(n >= _FEW)
    wide = float(norm.isf(0.025 / max(1, len(found))))
    cells = []
    for i in found.tolist():
        mean = float(sums[i] / n[i])
        half = wide * (max(0.0, float(squares[i] / n[i]) - mean**2) / (int(n[i]) - 1)) ** 0.5
        cells.append(Cell(i // longest, i % longest, mean, mean - half, mean + half, int(n[i])))
    return tuple(cells)


def _first_of(sizes: Array, some: Array) -> Array:
    """Return the places of the first so many of every group, one group after the other."""
    place = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(place < np.repeat(some, sizes))
