"""How a spec names what is tuned on and what is judged on; the functions are in `evalkit.serving.thresholds.splits`.

Everything in ``__all__`` can be named in a spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.serving.arrivals import Arrival
from evalkit.serving.thresholds.splits import Split, by_hash, by_split, by_time

__all__ = ["ByHash", "BySplit", "ByTime"]


class Halves(Protocol):
    """Says which requests are tuned on and which are judged on."""

    def of(self, arrivals: Sequence[Arrival], data: Dataset) -> Split:
        """Return which requests are on which side."""


@dataclass(frozen=True)
class BySplit:
    """Tune on requests whose intent or conversation is of one split of the data set, judge on those of another.

    Parameters
    ----------
    dev, test : str
        Names of the splits.
    """

    dev: str = "dev"
    test: str = "test"

    def __post_init__(self) -> None:
        if self.dev == self.test:
            raise InputError(f"BySplit: dev and test are both '{self.dev}'; judge on another split than you tune on")

    def of(self, arrivals: Sequence[Arrival], data: Dataset) -> Split:
        """Return which requests are on which side."""
        return by_split(arrivals, data, dev=self.dev, test=self.test)


@dataclass(frozen=True)
class ByTime:
    """Tune on the first requests, judge on the later ones.

    Parameters
    ----------
    dev : float
        Share of the requests to tune on.
    """

    dev: float = 0.5

    def __post_init__(self) -> None:
        _check(self)

    def of(self, arrivals: Sequence[Arrival], data: Dataset) -> Split:
        """Return which requests are on which side."""
        return by_time(arrivals, dev=self.dev)


@dataclass(frozen=True)
class ByHash:
    """Draw whole intents, with their traps, for one side or the other; for data sets without splits.

    Parameters
    ----------
    dev : float
        Probability of an intent to be tuned on.
    seed : int
    """

    dev: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self)

    def of(self, arrivals: Sequence[Arrival], data: Dataset) -> Split:
        """Return which requests are on which side."""
        return by_hash(arrivals, dev=self.dev, seed=self.seed)


def _check(half: ByTime | ByHash) -> None:
    if not 0 < half.dev < 1:
        raise InputError(f"{type(half).__name__}: dev is {half.dev:g}; it is a share above 0 and below 1")
