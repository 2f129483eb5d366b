"""Which requests a cache is tuned on, and which it is then judged on: two masks over the same traffic.

Requests and the cache stay whole: entries of dev requests are given to test requests and the other way round, as in
service. What is split is what is counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.datasets import Dataset, Traffic
from evalkit.datasets.traffic import of_intent
from evalkit.errors import InputError, nearest
from evalkit.serving.arrivals import Arrival, arrivals_of


class Split(NamedTuple):
    """Requests to tune on and requests to judge on.

    Parameters
    ----------
    dev, test : bool arrays of shape (n,)
        In order of time, as in a `ThresholdSweep`. No request is in both; some may be in neither.
    """

    dev: Array
    test: Array


def by_split(traffic: Traffic | Sequence[Arrival], data: Dataset, *, dev: str = "dev", test: str = "test") -> Split:
    """Split requests by the split of the intent or conversation that they ask for; a trap's is its intent's.

    Requests of no known intent, and of other splits, are in neither.

    Parameters
    ----------
    traffic : Traffic or sequence of Arrival
    data : Dataset
        Its intents and conversations say their split.
    dev, test : str
        Names of the splits.

    Raises
    ------
    InputError
        If one name is both, or no request is of one of them.
    """
    if dev == test:
        raise InputError(f"by_split: dev and test are both '{dev}'; what was tuned on cannot be judged on")
    known: Mapping[str, str] = {
        **{name: intent.split for name, intent in data.intents.items()},
        **{name: talk.split for name, talk in data.conversations.items()},
    }
    arrivals = arrivals_of(traffic)
    asked = np.array([known.get(a.intent, known.get(of_intent(a.intent), "")) for a in arrivals])
    for name in (dev, test):
        if not (asked == name).any():
            raise InputError(f"by_split: no request of split '{name}'{nearest(name, set(known.values()) - {''})}")
    return Split(asked == dev, asked == test)


def by_time(traffic: Traffic | Sequence[Arrival], *, dev: float = 0.5) -> Split:
    """Tune on the first requests and judge on those that came later, as one who serves has to.

    Parameters
    ----------
    traffic : Traffic or sequence of Arrival
    dev : float
        Share of the requests to tune on. A conversation that goes on over the border is in neither.

    Raises
    ------
    InputError
        If nothing would be left on one side.
    """
    arrivals = arrivals_of(traffic)
    n = len(arrivals)
    cut = round(dev * n) if 0 < dev < 1 else 0
    if not 0 < cut < n:
        raise InputError(f"by_time: {dev} of {n} requests leaves none on one side; give a share between 0 and 1")
    before = np.arange(n) < cut
    talks = [(a.tenant, a.user, a.conversation) if a.conversation else None for a in arrivals]
    both = {talk for talk in talks[:cut] if talk} & {talk for talk in talks[cut:] if talk}
    torn = np.array([talk in both for talk in talks], dtype=np.bool_)
    return Split(before & ~torn, ~before & ~torn)


def by_hash(traffic: Traffic | Sequence[Arrival], *, dev: float = 0.5, seed: int = 0) -> Split:
    """Draw whole intents, with their traps, for one side or the other; without intents, whole questions.

    One who is judged on intents that he did not tune on learns what a threshold does to new ones. A request's side
    hangs on what it asks alone, so traffic that grows keeps its sides.

    Parameters
    ----------
    traffic : Traffic or sequence of Arrival
        A request without an intent goes by its conversation or, outside of one, its text, without regard to case.
    dev : float
        Probability of an intent to be tuned on.
    seed : int

    Raises
    ------
    InputError
        If nothing is left on one side.
    """
    arrivals = arrivals_of(traffic)
    drawn = np.array([_drawn(_named(a), seed) for a in arrivals]) < dev
    if drawn.all() or not drawn.any():
        raise InputError(f"by_hash: dev {dev} leaves no request on one side; give a share between 0 and 1, or a seed")
    return Split(drawn, ~drawn)


def _named(arrival: Arrival) -> str:
    if arrival.intent:
        return f"intent {of_intent(arrival.intent)}"
    if arrival.conversation:
        return f"conversation {arrival.tenant} {arrival.user} {arrival.conversation}"
    return f"text {' '.join(arrival.text.split()).casefold()}"


def _drawn(name: str, seed: int) -> float:
    """Return a number from 0 to below 1 that is a name's own."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest()) / 2**56
