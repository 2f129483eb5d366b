"""When a near entry may be given: by a threshold, or by what was seen of the entry itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics.answers import ExactMatch, TokenF1
from evalkit.serving.semantic import curves
from evalkit.serving.semantic.curves import BINS, Seen

Measure = Literal["cosine", "L2", "squared L2", "cosine distance"]
_FARTHEST = {"cosine": -1.0, "L2": 2.0, "squared L2": 4.0, "cosine distance": 2.0}


class Rule(Protocol):
    """Decides whether an entry may be given for a question that is near the one it was made for.

    Attributes
    ----------
    learns : bool
        Whether it is told, where the model was asked after all, if the entry would have been right.
    """

    learns: ClassVar[bool]

    def chance(self, similarity: float, seen: Seen) -> float:
        """Return the probability with which the entry is to be given, from 0 to 1."""


@dataclass(frozen=True)
class Threshold:
    """Gives an entry that is near enough: cosine at least, or distance at most, as much as stated.

    For unit vectors the measures say the same of one pair, yet a number means another thing in each: 0.05 as cosine
    distance is a cosine of 0.95, as squared L2 distance one of 0.975, as L2 distance one of 0.99875. (``1 - L2`` is
    no similarity that anything here compares.)

    Parameters
    ----------
    at : float
        The bound itself is near enough. A cosine of 1, and a distance of 0, are equal vectors only; a cosine of 0
        lets everything through that does not point the other way.
    measure : {"cosine", "L2", "squared L2", "cosine distance"}
    """

    at: float = 0.95
    measure: Measure = "cosine"

    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.measure not in _FARTHEST:
            known = ", ".join(map(repr, _FARTHEST))
            raise InputError(f"Threshold: measure is {self.measure!r}; it is one of {known}")
        low, high = (-1.0, 1.0) if self.measure == "cosine" else (0.0, _FARTHEST[self.measure])
        if not low <= self.at <= high:
            raise InputError(f"Threshold: at is {self.at}; as {self.measure} it is from {low:g} to {high:g}")

    @property
    def least_cosine(self) -> float:
        """The bound as a cosine."""
        at = float(self.at)
        cosines = {"cosine": at, "L2": 1 - at * at / 2, "squared L2": 1 - at / 2, "cosine distance": 1 - at}
        return cosines[self.measure]

    def chance(self, similarity: float, seen: Seen = ()) -> float:
        """Return 1 where the entry is near enough, else 0."""
        everything = self.at == _FARTHEST[self.measure]  # rounding puts opposite vectors a little beyond -1
        return float(everything or similarity >= self.least_cosine)


@dataclass(frozen=True)
class Verified:
    """Gives an entry as often as what was seen of it allows, so that wrong answers stay below a declared share.

    Every entry has a threshold of its own, unknown at first. As long as little is known of it the model is asked in
    its place, and the model's answer is compared with the entry's. From these observations, and from nothing else,
    follows with what probability the entry is given next time; a seeded draw decides.

    **What is bounded.** For every entry and at each of its requests, the probability that the entry is given and is
    wrong is at most `error`, over all that may have been observed before. So, in expectation, is the share of wrong
    answers among all answers, those of the model included (which are right by definition: they are what an entry is
    compared with). The share of wrong ones among hits alone has no such bound; it is held down by a second
    condition: an entry is given only where its mean chance of being right, under the mixture below, is at least
    ``1 - error``. Single entries may do worse for a time, with luck in what was seen of them; `explore` finds out.

    **Under which assumption.** Whether an entry is right depends on the similarity alone, by one of 850 curves (see
    `evalkit.serving.semantic.curves`): logistic, rising or falling, steep or flat, with ten ceilings from 1 to 0;
    observations are independent, and the world does not change within the TTL. No number of observations is needed
    for it to hold, and it holds whichever similarities requests have, also where these hang on what was seen. For
    the share among all answers, how often an entry is asked for must not hang on what was seen of it. In part it
    does: a wrong answer that was found out makes an entry, which takes near requests from the old one, and an entry
    that had luck keeps its own. Where it takes all of them, some 3 % of all answers were wrong instead of 2 % (see
    `evalkit.serving.semantic.worlds`).

    **At first** nothing is given: with the defaults an entry must have been right about six times before it is given
    at all, and some forty times before it is given nearly always. It pays for questions that come often.

    The idea is vCache's: a curve and a decision for each entry, and exploration instead of a threshold. The paper
    fits one logistic curve and takes a normal approximation's bound of its parameters, which few observations do not
    justify. Here every curve is weighed by an e-value, a likelihood ratio of a mixture to it, whose expectation is at
    most 1 when the curve is the true one, at any time (universal inference).

    Parameters
    ----------
    error : float
        The bound, above 0 and below 1.
    floor : float
        Cosine below which nothing is given and nothing is learnt.
    explore : float
        At least this share of the near questions goes to the model all the same, so that learning never ends.
    same : {"normalised text", "token F1"}
        When two answers are one: equal after SQuAD's normalisation, or with at least `f1`.
    f1 : float
        Used by "token F1" only.
    seed : int
        Of the draws, which besides hang on the request's number and question.

    References
    ----------
    Schroeder et al., *vCache: Verified Semantic Prompt Caching*, 2025 (arXiv 2502.03771).
    Wasserman, Ramdas and Balakrishnan, *Universal inference*, PNAS 2020.
    """

    error: float = 0.02
    floor: float = 0.8
    explore: float = 0.02
    same: Literal["normalised text", "token F1"] = "normalised text"
    f1: float = 0.8
    seed: int = 0

    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.error < 1:
            raise InputError(
                f"Verified: error is {self.error}; it is above 0 and below 1 (nothing learnt is certain)"
            )
        if not -1 <= self.floor < 1:
            raise InputError(f"Verified: floor is {self.floor}; it is a cosine from -1 to below 1")
        if not (0 <= self.explore <= 1 and 0 <= self.f1 <= 1):
            raise InputError("Verified: explore and f1 are shares, from 0 to 1")
        if self.same not in ("normalised text", "token F1"):
            raise InputError(f"Verified: same is {self.same!r}; it is 'normalised text' or 'token F1'")

    def near(self, similarity: float) -> bool:
        """Whether the entry is near enough to be given or learnt about."""
        return similarity >= self.floor

    def chance(self, similarity: float, seen: Seen = ()) -> float:
        """Return the probability with which the entry is given."""
        if not self.near(similarity):
            return 0.0
        return float(self.allowed(*curves.judged(seen, self.bin(similarity))))

    def allowed(self, mean: ArrayLike, evidence: ArrayLike) -> Array:
        """Return the probability with which entries are given, from what `curves.judged` says of each."""
        most = np.minimum(1.0 - self.explore, self.error * np.asarray(evidence))
        return np.where(np.asarray(mean) < 1 - self.error, 0.0, most)

    def observed(self, similarity: float, seen: Seen, right: bool) -> list[list[int]]:
        """Return what was seen, with one observation more, as JSON keeps it."""
        return curves.observed(seen, self.bin(similarity), right)

    def equal(self, answer: str, kept: str) -> bool:
        """Whether two answers are one."""
        if self.same == "token F1":
            return TokenF1().pair(answer, kept) >= self.f1
        return ExactMatch().pair(answer, kept) == 1.0

    def bin(self, similarity: float) -> int:
        """Return the bin of a similarity, from 0 at the floor."""
        share = (similarity - self.floor) / (1 - self.floor)
        return min(BINS - 1, max(0, int(share * BINS)))
