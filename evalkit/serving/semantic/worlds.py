"""Simulated worlds: how near requests come to entries, and how often entries are right then.

A rule for near entries promises something under assumptions. A world states both sides: `assumed` says whether it is
one that `Verified` assumes, or one in which nothing is promised and it is only looked at what happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError


class Curve(Protocol):
    """The probability that an entry is right, by similarity."""

    def __call__(self, similarity: Array) -> Array:
        """Return probabilities, of the shape of `similarity`."""


@dataclass(frozen=True)
class Logistic:
    """``ceiling / (1 + exp(-slope * (similarity - middle)))``.

    Parameters
    ----------
    slope : float
        For 1 of cosine; below 0 it falls. 400 goes from 0.12 to 0.88 within 0.01; 0: half the ceiling everywhere.
    middle : float
        Cosine at half the ceiling.
    ceiling : float
    """

    slope: float
    middle: float
    ceiling: float = 1.0

    def __call__(self, similarity: Array) -> Array:
        """Return probabilities."""
        return np.asarray(self.ceiling / (1 + np.exp(-self.slope * (similarity - self.middle))))


@dataclass(frozen=True)
class Flat:
    """The same at every similarity."""

    right: float

    def __call__(self, similarity: Array) -> Array:
        """Return probabilities."""
        return np.full(np.shape(similarity), self.right)


@dataclass(frozen=True)
class Step:
    """One probability from a cosine on, another below it."""

    at: float
    below: float = 0.0
    above: float = 1.0

    def __call__(self, similarity: Array) -> Array:
        """Return probabilities."""
        return np.where(np.asarray(similarity) >= self.at, self.above, self.below)


@dataclass(frozen=True)
class Bump:
    """Another probability between two cosines: near-miss traps lie close together, and often close to the entry."""

    low: float
    high: float
    inside: float
    outside: float = 1.0

    def __call__(self, similarity: Array) -> Array:
        """Return probabilities."""
        s = np.asarray(similarity)
        return np.where((s >= self.low) & (s < self.high), self.inside, self.outside)


@dataclass(frozen=True)
class World:
    """Entries, and requests that come near them.

    Parameters
    ----------
    name : str
    curves : tuple of Curve
        Each entry has one of them, drawn with equal chances.
    a, b : float
        Similarities are from `floor` to 1, beta-distributed with these parameters.
    floor : float
    centres : bool
        Whether similarities lie at the centres of `Verified`'s bins above `floor`, where its curves are exact.
    entries : int
    zipf : float
        The entry of rank r is asked for in proportion to ``r ** -zipf``.
    delay : int
        Requests of the stream that come before a model's answer is known and an observation counts.
    then : tuple of Curve
        Curves from the middle of the stream on, in the order of `curves`: the world changes within the TTL. Empty: as
        before.
    texts : int
        How many questions there are about an entry; each comes again and again by Zipf's law, and is right or wrong
        for ever, so that observations are not independent. 0: every request is another question.
    asks : {"anyhow", "where it hurts"}
        ``where it hurts``: each request has that similarity, of four, at which a wrong answer is likeliest to be
        given, by what the rule has seen of the entry.
    moves : bool
        Whether a wrong answer that was seen makes an entry which gets all further requests of the old one, and of
        which nothing has been seen. A cache does so in part: the new entry gets those that are nearer to it.
    assumed : bool
        Whether `Verified` promises something here.
    """

    name: str
    curves: tuple[Curve, ...]
    a: float = 2.0
    b: float = 2.0
    floor: float = 0.8
    centres: bool = True
    entries: int = 20
    zipf: float = 1.0
    delay: int = 3
    then: tuple[Curve, ...] = ()
    texts: int = 0
    asks: Literal["anyhow", "where it hurts"] = "anyhow"
    moves: bool = False
    assumed: bool = True

    def __post_init__(self) -> None:
        if not self.curves or (self.then and len(self.then) != len(self.curves)):
            raise InputError(f"World: '{self.name}' needs a curve, and in then none or one for each of them")
        if self.entries < 1 or self.delay < 0 or self.texts < 0 or self.zipf < 0 or min(self.a, self.b) <= 0:
            raise InputError(
                f"World: '{self.name}' needs an entry, a and b above 0, and zipf, delay and texts from 0 on"
            )
        if not -1 <= self.floor < 1:
            raise InputError(f"World: '{self.name}' has floor {self.floor}; it is a cosine from -1 to below 1")
        if self.asks not in ("anyhow", "where it hurts") or (self.asks != "anyhow" and (self.texts or self.then)):
            raise InputError(f"World: '{self.name}' asks 'anyhow', or 'where it hurts' without texts and then")


_STEEP, _GENTLE = Logistic(400, 0.905), Logistic(80, 0.86)
_EVERY = (Flat(1.0), _STEEP, _GENTLE, Logistic(400, 0.83, 0.96), Flat(0.5), Logistic(-80, 0.91), Flat(0.0))

WORLDS: tuple[World, ...] = (
    World("always right", (Flat(1.0),)),
    World("right from 0.905 on, steeply", (_STEEP,)),
    World("rising gently", (_GENTLE,)),
    World("rising to 0.98", (Logistic(400, 0.83, 0.98),)),
    World("right at 0.96 anywhere", (Flat(0.96),)),
    World("right at 0.5 anywhere", (Flat(0.5),)),
    World("falling", (Logistic(-80, 0.91),)),
    World("never right", (Flat(0.0),)),
    World("all of these together", _EVERY),
    World("asked where it hurts", _EVERY, asks="where it hurts"),
    World(
        "between the curves",
        (Logistic(150, 0.873), Logistic(40, 0.83, 0.985), Step(0.9026), Flat(0.94), Flat(0.97), Flat(0.985)),
        centres=False,
        assumed=False,
    ),
    World("traps from 0.93 to 0.97", (Bump(0.93, 0.97, 0.3),), centres=False, assumed=False),
    World("rare traps at 0.985", (Bump(0.98, 0.99, 0.0),), a=3, b=2, centres=False, assumed=False),
    World("changes within the TTL", (Flat(1.0), _STEEP), then=(Flat(0.5), Flat(0.5)), entries=3, assumed=False),
    World("the same questions again", _EVERY, texts=20, assumed=False),
    World("wrong answers move on", (Flat(0.94),), entries=3, moves=True, assumed=False),
)
"""What `benchmarks/verified.py` looks at. The first ten are what `Verified` assumes."""
