"""How many wrong answers a setting may be giving: shares with one-sided bounds, and what they say of a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.columns import Array
from evalkit.datasets.traffic import of_intent
from evalkit.errors import InputError
from evalkit.metrics.statistics.two_way import two_way_proportion_interval
from evalkit.serving.thresholds.swept import ThresholdSweep

Of = Literal["answers", "hits"]
Clusters = Literal["entry", "intent"]
Verdict = Literal["holds", "broken", "too few to tell"]
_OF_THE_HIT_RATE = 0.1
"""Share of the error that the hit rate's bound gets; it is known far better than the share of wrong hits."""
_LEAST = 1e-12
_FINEST = 1e-9
"""Budgets and errors below it, or that near to 1, are lost in rounding."""


@dataclass(frozen=True)
class Bounded:
    """Wrong answers that one setting gave to some requests.

    Parameters
    ----------
    requests, hits, wrong, unjudged : int
        Requests that got an answer; those whose call failed are none.
        `unjudged` are hits of which nobody can say whether they were right.
    entries : int
        Distinct clusters among the hits: entries, or intents.
    independent : int
        How many clusters the bounds take for trials where no answer is wrong: the entries or the conversations, of
        whichever there are fewer among the hits (without a hit: among the requests).
    most_hits : float
        Upper bound of the hit rate, as far as it is part of `high`; else 1.
    value : float
        Known wrong hits by all requests (``of="answers"``) or hits; nan with nothing to divide by.
    low, high : float
        One-sided bounds, each at `level`. Unjudged hits are right in the lower and wrong in the upper one.
    level : float
    """

    requests: int
    hits: int
    wrong: int
    unjudged: int
    entries: int
    independent: int
    most_hits: float
    value: float
    low: float
    high: float
    level: float

    @property
    def hit_rate(self) -> float:
        """Hits by requests; nan without any."""
        return self.hits / self.requests if self.requests else math.nan

    @property
    def right(self) -> int:
        """Hits known to be right."""
        return self.hits - self.wrong - self.unjudged

    def verdict(self, budget: float) -> Verdict:
        """Say whether the share is within a budget, beyond it, or not known well enough."""
        return "holds" if self.high <= budget else "broken" if self.low > budget else "too few to tell"


class Counted:
    """What a setting gave to some requests, ready to be bounded at any level.

    Of hits, wrong ones are bounded by `two_way_proportion_interval`, from above with clusters alike (from below the
    bound of all trials is measured to hold by itself, and it sees what is wrong in few entries). Of all answers, that
    bound is multiplied by one of the hit rate (a tenth of the error goes to it): were the wrong hits counted among
    all requests at once, each miss would pass for an entry that was seen to be right.
    """

    def __init__(
        self, sweep: ThresholdSweep, setting: int, where: Array, *, of: Of = "answers", clusters: Clusters = "entry"
    ) -> None:
        rows, self._of = np.flatnonzero(where & sweep.answered[setting]), of  # what got no answer got no right one
        self._hit, judged = sweep.hit[setting][rows], sweep.judged[setting][rows]
        self._labels = _labels(sweep, setting, clusters)[rows], sweep.conversations[rows]
        self._given = self._labels[0][self._hit], self._labels[1][self._hit]
        self._wrong = sweep.wrong[setting][rows][self._hit]
        self._unjudged = ~judged[self._hit]

    def bounded(self, level: float) -> Bounded:
        """Return the share and both one-sided bounds at a level."""
        requests, hits, wrong = len(self._hit), len(self._wrong), int(self._wrong.sum())
        trials = requests if self._of == "answers" else hits
        among = self._given if hits else self._labels
        return Bounded(
            requests, hits, wrong, int(self._unjudged.sum()), np.unique(self._given[0]).size,
            min(np.unique(one).size for one in among), self._hits("upper", 1 - level) if hits else 1.0,
            wrong / trials if trials else math.nan, self._bound("lower", level), self._bound("upper", level), level,
        )  # fmt: skip

    def p(self, budget: float) -> float:
        """Return the least error at which the upper bound is within the budget: at most 0.5, or else 1."""
        if self._bound("upper", 0.5 + _LEAST) > budget:
            return 1.0
        low, high = math.log(_LEAST), math.log(0.5 - _LEAST)
        for _ in range(30):
            middle = (low + high) / 2
            if self._bound("upper", 1 - math.exp(middle)) <= budget:
                high = middle
            else:
                low = middle
        return math.exp(high)

    def _bound(self, side: Literal["upper", "lower"], level: float) -> float:
        events, error = self._wrong | self._unjudged if side == "upper" else self._wrong, 1 - level
        own = error * (1 - _OF_THE_HIT_RATE) if self._of == "answers" else error
        return _end(events, self._given, side, 1 - own, alike=side == "upper") * self._hits(side, error)

    def _hits(self, side: Literal["upper", "lower"], error: float) -> float:
        """Return the hit rate's bound, where the share is of all answers."""
        if self._of == "hits":
            return 1.0
        return _end(self._hit, self._labels, side, 1 - error * _OF_THE_HIT_RATE, alike=False)


def required(budget: float, level: float = 0.95) -> int:
    """Return how many independent judged hits with no error at all show that at most `budget` of them are wrong.

    Hits of one entry are not independent: so many entries must have been given. For "answers" rather than hits, the
    budget by the hit rate is what counts.

    Raises
    ------
    InputError
        If budget or level are not above 0 and below 1.
    """
    check(budget, level)
    return _required(budget, level)


def _required(budget: float, level: float) -> int:
    return math.ceil(math.log(1 - level) / math.log1p(-budget) - 1e-9)


def needed(found: Bounded, budget: float, of: Of) -> int:
    """Return how many requests like these would show that the budget is met, if no answer to them was wrong.

    With as many hits, entries and conversations for each request as now. Where the share is one of hits and there is
    none, nobody knows: more than there were, and at least as many as hits are required. Likewise where no request got
    an answer.
    """
    if of == "hits" and not found.hits:
        return max(_required(budget, found.level), found.requests + 1)
    part = 1.0 if of == "hits" else 1 - _OF_THE_HIT_RATE if found.hits else _OF_THE_HIT_RATE
    budget = budget / found.most_hits
    if budget >= 1:
        return 0
    trials = _required(budget, 1 - (1 - found.level) * part)
    return math.ceil(trials * found.requests / found.independent) if found.independent else trials


def check(budget: float, level: float, name: str = "level") -> None:
    """Refuse a budget or a level that is none, or that is lost in rounding; `name` is the level's."""
    if not _FINEST <= budget <= 1 - _FINEST:
        raise InputError(
            f"certificate: budget is {budget}; it is a share of wrong answers, such as 0.01, "
            f"and at least {_FINEST:g} from 0 and 1"
        )
    if not 0.5 < level <= 1 - _FINEST:
        raise InputError(
            f"certificate: {name} is {level}; it is above 0.5 and below 1, by {_FINEST:g} or more, such as 0.95"
        )


def _labels(sweep: ThresholdSweep, setting: int, clusters: Clusters) -> Array:
    """Return labels of the entry of every request; or of the intent that it was made for, where one is known."""
    entries = sweep.entries(setting)
    if clusters == "entry":
        return entries
    known: dict[str, int] = {}
    numbers = [
        known.setdefault(of_intent(maker.intent), i) if maker.intent else i for i, maker in enumerate(sweep.makers)
    ]
    return np.asarray(np.array(numbers, dtype=np.int64)[entries])


def _end(
    events: Array, labels: tuple[Array, Array], side: Literal["upper", "lower"], level: float, *, alike: bool
) -> float:
    found = two_way_proportion_interval(events, *labels, level=level, side=side, alike=alike)
    return found.high if side == "upper" else found.low
