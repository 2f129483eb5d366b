"""Random search: values drawn from distributions, the same in every process and on every machine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol

from evalkit.errors import InputError, InputErrors
from evalkit.forms import Reader, build
from evalkit.sweep.faults import Faults

_DIGITS = 6
"""Significant digits of what is drawn: as many as a label prints, and fewer than two machines may differ in."""


class Distribution(Protocol):
    """Something to draw numbers from."""

    def quantile(self, share: float) -> float:
        """Return the value that a share of the draws, from 0 to 1, lies below."""


@dataclass(frozen=True)
class Uniform:
    """A number from `low` to `high`, all alike; six significant digits.

    Parameters
    ----------
    low, high : float
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends(self, self.low, self.high)

    def quantile(self, share: float) -> float:
        """Return the value that a share of the draws lies below."""
        return _rounded(self.low + share * (self.high - self.low), self.low, self.high)


@dataclass(frozen=True)
class LogUniform:
    """A number from `low` to `high`, each doubling as likely as any other; six significant digits.

    Parameters
    ----------
    low, high : float
        Above 0.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends(self, self.low, self.high)
        if self.low <= 0:
            raise InputError(f"LogUniform: low {self.low} does not fit; it must be above 0")

    def quantile(self, share: float) -> float:
        """Return the value that a share of the draws lies below."""
        return _rounded(self.low * (self.high / self.low) ** share, self.low, self.high)


@dataclass(frozen=True)
class Integers:
    """A whole number from `low` to `high`, both included, all alike.

    Parameters
    ----------
    low, high : int
    step : int
        Only ``low``, ``low + step``, ... are drawn: variants with equal values share their work.
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        _check_ends(self, self.low, self.high)
        if self.step < 1:
            raise InputError(f"Integers: step is {self.step}; it must be at least 1")

    def quantile(self, share: float) -> int:
        """Return the value that a share of the draws lies below."""
        return self.low + self.step * int(share * ((self.high - self.low) // self.step + 1))


_NAMES = {kind.__name__: kind for kind in (Uniform, LogUniform, Integers)}


@dataclass(frozen=True)
class Random:
    """Variants drawn at random.

    Parameters
    ----------
    samples : int
        Points drawn. Equal ones are one variant, so there may be fewer.
    of : {dotted path: distribution or values}
        A distribution (`Uniform`, `LogUniform`, `Integers`), or a list of values that are all alike.
    seed : int
        With the path and the number of the sample it alone decides what is drawn: another path beside it, or more
        samples, change no draw.

    Raises
    ------
    InputErrors
        For every path without a distribution or values, no path, no sample, a negative seed.

    References
    ----------
    Bergstra and Bengio, *Random search for hyper-parameter optimization*, JMLR 2012.
    """

    samples: int
    of: Mapping[str, Any]
    seed: int = 0

    def __post_init__(self) -> None:
        faults = Faults()
        for name, least in (("samples", 1), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                faults.add((name,), f"Random: is {value}; it must be at least {least}")
        of: Any = self.of
        if not isinstance(of, Mapping) or not of:
            raise InputErrors(["Random: a mapping from at least one path to what is drawn is needed"], [("of",)])
        object.__setattr__(self, "of", {str(path): _source(item, path, faults) for path, item in of.items()})
        faults.check()


def draw(random: Random, path: str, sample: int) -> Any:
    """Return what a sample has at a path; of a list of values, its place there."""
    source = random.of[path]
    key = f"{random.seed} {sample} {path}".encode()
    share = (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 11) * 2.0**-53
    return int(share * len(source)) if isinstance(source, Sequence) else source.quantile(share)


def _source(item: Any, path: str, faults: Faults) -> Any:
    if hasattr(item, "tolist"):
        item = item.tolist()
    if isinstance(item, Sequence) and not isinstance(item, str):
        if not item:
            faults.add(("of", path), "has no values; list at least one")
        return tuple(item)
    if not isinstance(item, str | Mapping) and not is_dataclass(item):
        faults.add(("of", path), f"a distribution or a list of values is needed, not {item!r}")
        return item
    reader = Reader(_NAMES, where=lambda _: "")
    found = build(item, Distribution, reader)
    for fault in reader.faults:
        faults.add(("of", path), fault.removeprefix(": "))
    return found


def _check_ends(distribution: Any, low: Any, high: Any) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{type(distribution).__name__}: low {low} and high {high} do not fit; low is below high")


def _rounded(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)
