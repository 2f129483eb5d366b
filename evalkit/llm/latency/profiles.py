"""How long a model takes: a latency law with named profiles, as data with sources.

A profile is a value that `Modelled` draws times from. Named ones are those that the founding documents state, one
file of evalkit's own; a file of the same form, fitted from recorded calls or written by hand, adds to them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.resources import files
from random import Random
from statistics import NormalDist
from types import MappingProxyType
from typing import Any

from evalkit.errors import InputError, InputErrors, nearest
from evalkit.forms import Reader, build
from evalkit.paths import find

_NORMAL = NormalDist()
_DIGITS = 6
"""Times are whole microseconds: finer than a network tells, and equal where the last bit of a logarithm is not."""


@dataclass(frozen=True)
class Profile:
    """A latency law: the first token comes after the prompt is worked through, the others one after another.

    The first token takes ``base + prefill * uncached + cached * read`` seconds for a prompt of so many tokens, all
    others together ``per_token * (output - 1)``. Each is multiplied by ``exp(sigma * z)`` with its own sigma and a
    standard normal z of its own. So these figures are medians; means are ``exp(sigma**2 / 2)`` times as long (1.02
    for a sigma of 0.2, 1.13 for 0.5). Without jitter the whole takes exactly their sum; with it, its median is close
    to that.

    Parameters
    ----------
    base : float
        Seconds to the first token of an empty prompt: the way there and back, queueing included.
    prefill : float
        Seconds per token of the prompt that is not read from a prompt cache; written ones count.
    per_token : float
        Seconds from one output token to the next.
    cached : float
        Seconds per token that is read from a prompt cache.
    jitter_first : float
        Sigma of the logarithm of the time to the first token, from call to call.
    jitter_rate : float
        Sigma of the logarithm of a call's mean seconds per output token, from call to call.
    jitter_gap : float
        Sigma of the logarithm of single gaps within a call. It moves tokens within their call and leaves its length.
    """

    base: float
    prefill: float = 0.0
    per_token: float = 0.0
    cached: float = 0.0
    jitter_first: float = 0.0
    jitter_rate: float = 0.0
    jitter_gap: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise InputError(f"Profile: {item.name} is {value!r}; a number of at least 0 is needed")

    def first(self, uncached: int, cached: int = 0) -> float:
        """Return the median seconds to the first token of a prompt of so many tokens."""
        return self.base + self.prefill * uncached + self.cached * cached

    def total(self, uncached: int, output: int, cached: int = 0) -> float:
        """Return the seconds to the last token without jitter."""
        return self.first(uncached, cached) + self.per_token * max(output - 1, 0)

    def draw_first(self, uncached: int, cached: int, noise: Random) -> float:
        """Draw the seconds to the first token."""
        return round(self.first(uncached, cached) * math.exp(self.jitter_first * _normal(noise)), _DIGITS)

    def draw_pieces(self, first: float, output: int, noise: Random) -> tuple[float, ...]:
        """Draw when each of `output` tokens comes, the first of them at `first`: seconds from the call."""
        rate = math.exp(self.jitter_rate * _normal(noise))
        gaps = [math.exp(self.jitter_gap * _normal(noise)) for _ in range(output - 1)]
        step = self.per_token * rate * len(gaps) / math.fsum(gaps) if gaps else 0.0
        pieces, at = [first], first
        for gap in gaps:
            at += step * gap
            pieces.append(round(at, _DIGITS))
        return tuple(pieces[:output])


def _normal(noise: Random) -> float:
    """Draw a standard normal number by the one method that Python promises never to change: bits of the generator."""
    return _NORMAL.inv_cdf((noise.getrandbits(52) + 0.5) / 2**52)


@dataclass(frozen=True)
class NamedProfile:
    """A profile with where it is from.

    Parameters
    ----------
    profile : Profile or None
        None for a system that asks no model.
    source : str
        The document and what it states, or what it was fitted on.
    assumed : str
        What the source leaves open and was chosen here.
    prompt, output : int
        Tokens at which the profile meets the figures.
    figures : {name: seconds}
        As the source states them: ``first`` and ``total`` of a call, ``total_cached`` with the prompt read from the
        cache, ``low`` and ``high`` of a range.
    stages : {stage: seconds}
        What the same source says of the other stages, by the names that evalkit books them under.
    fit : {name: what}
        Of a fitted profile: standard errors, intervals, calls, ranges.
    """

    profile: Profile | None = None
    source: str = ""
    assumed: str = ""
    prompt: int = 0
    output: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)


def profiles() -> Mapping[str, NamedProfile]:
    """Return evalkit's profiles by name, and behind them those of the file that ``EVALKIT_PROFILES`` names.

    Raises
    ------
    InputErrors
        For every fault in the file.
    """
    path = os.environ.get("EVALKIT_PROFILES")
    return {**_own(), **(read_profiles(path) if path else {})}


def read_profiles(path: str | os.PathLike[str]) -> Mapping[str, NamedProfile]:
    """Return the profiles of a YAML file: ``name: {profile: {base: ..., ...}, source: ...}``.

    Raises
    ------
    InputErrors
        For every fault, with the file and the key.
    """
    try:
        return _read(str(path), find(path).stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def find_profile(profile: str | Profile) -> Profile:
    """Return the profile that a name stands for, or the only one in a YAML file; a profile is returned as it is.

    Raises
    ------
    InputError
        If there is none of that name, it asks no model, or the file holds several.
    """
    if isinstance(profile, Profile):
        return profile
    if profile.endswith((".yaml", ".yml")):
        held = read_profiles(profile)
        if len(held) != 1:
            raise InputError(
                f"{profile}: holds {len(held)} profiles; name the file in EVALKIT_PROFILES and the profile here"
            )
        profile, found = next(iter(held.items()))
    else:
        known = profiles()
        if profile not in known:
            fitting = [name for name, named in known.items() if named.profile is not None]
            raise InputError(f"no latency profile '{profile}'{nearest(profile, fitting)}")
        found = known[profile]
    if found.profile is None:
        raise InputError(f"profile '{profile}' is of a system that asks no model; it has stages' times only")
    return found.profile


@lru_cache(1)
def _own() -> Mapping[str, NamedProfile]:
    text = files("evalkit.llm.latency").joinpath("profiles.yaml").read_text(encoding="utf-8")
    return _parse("evalkit's profiles", text)


@lru_cache(8)
def _read(path: str, changed: int) -> Mapping[str, NamedProfile]:
    return _parse(path, find(path).read_text(encoding="utf-8"))


def _parse(name: str, text: str) -> Mapping[str, NamedProfile]:
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{name}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict) or not data or not all(isinstance(key, str) for key in data):
        raise InputError(f"{name}: a mapping of names to profiles is needed")
    reader = Reader(where=lambda path: f"{name}: {'.'.join(map(str, path))}")
    found = {key: build(item, NamedProfile, reader, (key,)) for key, item in data.items()}
    if reader.faults:
        raise InputErrors(reader.faults)
    return MappingProxyType(found)
