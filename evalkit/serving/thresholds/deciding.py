"""The pass: every setting's decision on every request, in order of time.

What an entry is depends on the setting, since it is there only where the request that made it was a miss. So every
setting has its own entries, and all of them move through the traffic together: one look at the near texts of a
request serves them all.

A text can be given only where some setting has an entry of it, and the entry of a setting only to what is at least as
near as the lowest threshold that missed it. So near texts are looked for block by block of requests, each among the
texts that hold an entry by then, no further away than that: where a threshold is low there are few entries, and where
there are many they are near.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from random import Random

import numpy as np

from evalkit.columns import Array
from evalkit.serving.keeping.kept import Until
from evalkit.serving.layers.semantic import Guard
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.asked import Asked
from evalkit.serving.thresholds.neighbours import Near, near
from evalkit.serving.thresholds.swept import MISS, Setting

_BLOCK = 256
_NEVER = np.inf


def decide(
    asked: Asked,
    settings: Sequence[Setting],
    *,
    until: Until = "nothing",
    keeps: bool = True,
    advance: Callable[[int], object] = lambda count: None,
) -> Array:
    """Return who would be given whose answer.

    Parameters
    ----------
    asked : Asked
    settings : sequence of Setting
    until : {"ingestion touches it", "ingestion", "nothing"}
        What ends an entry before its TTL, as for `SemanticCache`.
    keeps : bool
        Whether misses make entries. False: only what was there before is given.
    advance : function
        Called with the number of requests that are done.

    Returns
    -------
    int32 array of shape (settings, requests)
        Rows of `asked`; `MISS` where the model is asked.
    """
    lowest = np.array([_lowest(setting.rule) for setting in settings])
    held = np.full(len(asked.vectors), _NEVER)  # the lowest threshold at which a text may hold an entry
    guards = [
        _Entries(asked, guard, [i for i, s in enumerate(settings) if s.guard == guard], settings, until, keeps, held)
        for guard in dict.fromkeys(setting.guard for setting in settings)
    ]
    for entries in guards:
        entries.fill()
    given = np.full((len(settings), len(asked.at) - asked.before), MISS, dtype=np.int32)
    rows = asked.before + np.argsort(asked.at[asked.before :], kind="stable")
    rows = rows[~np.isnan(asked.at[rows])]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        texts = np.unique(asked.text[block])
        least = held.copy()
        least[texts] = lowest.min()
        among = np.flatnonzero(least < _NEVER)
        lists = near(asked.vectors, texts, among, least[among])
        for row in block.tolist():
            for entries in guards:
                given[entries.settings, row - asked.before] = entries.ask(row, lists[int(asked.text[row])])
        advance(len(block))
    return given


def _lowest(rule: Threshold | Verified) -> float:
    """The cosine below which a rule looks at nothing."""
    if isinstance(rule, Verified):
        return rule.floor
    return -_NEVER if rule.chance(-2.0) else rule.least_cosine


class _Entries:
    """The entries of all settings with one guard.

    A slot is what one entry has to itself: a text within a part. `made` and `maker` say for every slot and setting
    when the entry was made (infinity: there is none) and by which row.
    """

    def __init__(
        self,
        asked: Asked,
        guard: Guard,
        settings: Sequence[int],
        every: Sequence[Setting],
        until: Until,
        keeps: bool,
        held: Array,
    ) -> None:
        self.settings = np.array(settings)
        self._asked, self._until, self._keeps, self._held = asked, until, keeps, held
        self._texts = len(asked.vectors)
        self._parts = asked.parts[guard]
        names = self._parts * self._texts + asked.text
        self._names, self._slots = np.unique(names, return_inverse=True)
        shape = len(self._names), len(settings)
        self._made, self._maker = np.full(shape, _NEVER), np.full(shape, MISS, dtype=np.int32)
        self._filled = np.zeros(len(self._names), dtype=np.bool_)
        chosen = [every[i] for i in settings]
        self._least = np.array([_lowest(s.rule) for s in chosen])
        self._ttl = np.array([_NEVER if s.ttl is None else s.ttl for s in chosen])
        learning = [(column, s.rule) for column, s in enumerate(chosen) if isinstance(s.rule, Verified)]
        self._learning = {column: _Learning(rule, asked.answers) for column, rule in learning}
        self._plain = np.array([c for c in range(len(chosen)) if c not in self._learning], dtype=np.int64)
        self._coming: list[tuple[float, int, Array, list[tuple[int, int, int, float]]]] = []
        self._changes = list(asked.changes)

    def fill(self) -> None:
        """Make an entry of every row that was there before, in all settings."""
        everywhere = np.ones(len(self.settings), dtype=np.bool_)
        for row in range(self._asked.before):
            self._hold(row, everywhere)
            self._put(row, everywhere, 0.0)

    def ask(self, row: int, near: Near) -> Array:
        """Return what each setting gives to a request: int32 of shape (settings,)."""
        now = float(self._asked.at[row])
        self._until_now(now)
        given = np.full(len(self.settings), MISS, dtype=np.int32)
        slots, similarity = self._present(row, near)
        left = self._plain
        own = int(self._slots[row])
        if near.alone and self._filled[own]:  # nothing is nearer than the same text
            there = self._alive(now, own)[left]
            given[left[there]] = self._maker[own, left[there]]
            left = left[~there]
        if len(left) and len(slots):
            place = self._nearest(now, slots, similarity, left)
            hit = place >= 0
            given[left[hit]] = self._maker[slots[place[hit]], left[hit]]
        explored = []
        for column, learning in self._learning.items():
            place = self._nearest(now, slots, similarity, np.array([column]))
            if len(slots) and place[0] >= 0:
                slot, score = int(slots[place[0]]), float(similarity[place[0]])
                maker = int(self._maker[slot, column])
                if learning.gives(row - self._asked.before, self._asked.words[row], slot, score):
                    given[column] = maker
                else:
                    explored.append((column, slot, maker, score))
        missed = given == MISS
        if missed.any():
            if self._keeps:
                self._hold(row, missed)
            heapq.heappush(self._coming, (now + float(self._asked.seconds[row]), row, missed, explored))
        return given

    def _present(self, row: int, near: Near) -> tuple[Array, Array]:
        """Return the slots of near texts that some setting has had an entry in, and their cosines."""
        names = self._parts[row] * self._texts + near.texts
        places = np.minimum(np.searchsorted(self._names, names), len(self._names) - 1)
        there = (self._names[places] == names) & self._filled[places]
        return places[there], near.similarity[there]

    def _alive(self, now: float, slots: int | Array) -> Array:
        age = now - self._made[slots]
        return np.asarray((age >= 0) & (age < self._ttl))

    def _nearest(self, now: float, slots: Array, similarity: Array, columns: Array) -> Array:
        """Return for each of some settings the place in `slots` of the entry that is nearest; -1: none is near."""
        if not len(slots):
            return np.full(len(columns), -1)
        age = now - self._made[np.ix_(slots, columns)]
        fit = (age >= 0) & (age < self._ttl[columns]) & (similarity[:, None] >= self._least[columns])
        first = fit.argmax(axis=0)
        found = np.where(fit[first, np.arange(len(columns))], first, -1)
        after = np.minimum(found + 1, len(slots) - 1)
        tied = (found >= 0) & (after > found) & (similarity[after] == similarity[found])
        for c in np.flatnonzero(tied).tolist():  # of two that are equally near the older one is the nearer
            equal = np.flatnonzero((similarity == similarity[found[c]]) & fit[:, c])
            makers = self._maker[slots[equal], columns[c]]
            found[c] = equal[np.lexsort((makers, -age[equal, c]))[0]]
        return found

    def _until_now(self, now: float) -> None:
        """Let everything happen that comes before: answers that are there, documents that come and go."""
        while True:
            answer = self._coming[0][0] if self._coming else _NEVER
            change = self._changes[0][0] if self._changes else _NEVER
            if min(answer, change) > now:
                return
            if change <= answer:
                self._ingest(self._changes.pop(0)[1])
                continue
            at, row, missed, explored = heapq.heappop(self._coming)
            for column, slot, maker, score in explored:
                alive = bool(self._alive(at, slot)[column])
                if self._learning[column].learns(row, slot, maker, score, alive=alive):
                    missed[column] = False  # the entry says it already
            current = self._asked.version[row] == len(self._asked.changes) - len(self._changes)
            if self._keeps and current:
                self._put(row, missed, at)

    def _hold(self, row: int, where: Array) -> None:
        text = self._asked.text[row]
        self._held[text] = min(self._held[text], self._least[where].min())

    def _put(self, row: int, where: Array, at: float) -> None:
        slot = self._slots[row]
        self._made[slot, where], self._maker[slot, where] = at, row
        self._filled[slot] = True
        for column, learning in self._learning.items():
            if where[column]:
                learning.forget(int(slot))

    def _ingest(self, changed: frozenset[str]) -> None:
        if self._until == "ingestion":
            self._made[:] = _NEVER
        elif self._until == "ingestion touches it" and self._asked.tags:
            touched = np.array([bool(tags & changed) for tags in self._asked.tags])
            self._made[touched[self._maker] & (self._maker != MISS)] = _NEVER


class _Learning:
    """What one verified rule has seen of its entries."""

    def __init__(self, rule: Verified, answers: Sequence[str]) -> None:
        self._rule, self._answers = rule, answers
        self._seen: dict[int, tuple[tuple[int, ...], ...]] = {}
        self._chances: dict[tuple[float, tuple[tuple[int, ...], ...]], float] = {}

    def gives(self, number: int, text: str, slot: int, similarity: float) -> bool:
        seen = self._seen.get(slot, ())
        key = similarity, seen
        if key not in self._chances:
            self._chances[key] = self._rule.chance(similarity, seen)
        return Random(f"{self._rule.seed} {number} {text}").random() < self._chances[key]  # noqa: S311

    def learns(self, row: int, slot: int, maker: int, similarity: float, *, alive: bool) -> bool:
        """Compare what the model said with the entry; whether they are one."""
        right = self._rule.equal(self._answers[row], self._answers[maker])
        if alive:
            seen = self._rule.observed(similarity, self._seen.get(slot, ()), right)
            self._seen[slot] = tuple(map(tuple, seen))
        return right

    def forget(self, slot: int) -> None:
        """An entry was made anew."""
        self._seen.pop(slot, None)
