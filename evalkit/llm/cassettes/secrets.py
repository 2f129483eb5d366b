"""Secrets that must not be written down: values that the environment holds, and what looks like a key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_NAMES = re.compile(
    r"(?:^|_)(?:API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET(?:_?KEY)?|TOKEN|CREDENTIALS?)$|PASSW(?:OR)?D$",
    re.I,
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:([^/\s@]+)@", re.I)
_SHORT, _LONG = 8, 16
"""Letters of a secret at least; and of one that is only letters or only digits, as words and numbers are."""

_SHAPES = (
    ("an Anthropic key", ("sk-ant-",), r"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{16,}", True),
    ("an API key", ("sk-",), r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}", True),
    ("an AWS key", ("AKIA", "ASIA"), r"(?<![\w/+])A[KS]IA[A-Z0-9]{16}(?<!EXAMPLE)(?![\w/+=])", True),
    ("a GitHub token", ("gho_", "ghp_", "ghr_", "ghs_", "ghu_"), r"(?<!\w)gh[oprsu]_[A-Za-z0-9]{36,}", False),
    ("a GitHub token", ("github_pat_",), r"(?<!\w)github_pat_\w{22,}", True),
    ("a Hugging Face token", ("hf_",), r"(?<!\w)hf_[A-Za-z0-9]{30,}", False),
    ("a Google key", ("AIza",), r"(?<![\w/+-])AIza[\w-]{35}(?![\w/+=-])", False),
    ("a Slack token", ("xox",), r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}", True),
    ("a private key", ("PRIVATE KEY",), r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY", False),
    ("a JSON web token", ("eyJ",), r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", False),
    ("a bearer token", ("earer", "EARER"), r"\b(?i:bearer)\s+[A-Za-z0-9._~+/-]{20,}", True),
)
"""What it is, letters that it cannot be without, its shape, and whether it must also look drawn at random.

Shapes as their issuers and secret scanners document them (GitHub, Supported secret scanning patterns; RFC 6750;
RFC 7468; RFC 7519). Letters before and behind are looked at, since a vector in base64 may hold anything.
"""

_COMPILED = tuple((what, signs, re.compile(shape, re.ASCII), drawn) for what, signs, shape, drawn in _SHAPES)
_SIGNS = tuple(sign for _, signs, _, _ in _SHAPES for sign in signs)


@dataclass(frozen=True)
class Secrets:
    """What to look for. Its ``repr`` shows no secret.

    Parameters
    ----------
    values : {secret: name}
        Secrets themselves, and which variable of the environment holds each.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def known(cls, environment: Mapping[str, str] | None = None) -> Secrets:
        """Return those of the environment: keys, tokens, secrets, passwords, also within addresses.

        Values that are too short, or short and a plain word or number, are no secrets that could be told from text.
        """
        environment = os.environ if environment is None else environment
        found: dict[str, str] = {}
        for name, value in sorted(environment.items()):
            if _NAMES.search(name):
                found[value.strip()] = name
            if address := _ADDRESS.match(value):
                found[address[1]] = name
        return cls({value: name for value, name in found.items() if _counts(value)})

    def in_text(self, text: str) -> bool:
        """Whether `find` may find anything in a JSON text: quick, and never wrongly False."""
        return any(value in text for value in self._escaped) or any(sign in text for sign in _SIGNS)

    def find(self, value: Any) -> tuple[str, str] | None:
        """Return where in JSON-ready data a secret stands and what it is, never itself; None where there is none."""
        for place, text in _texts(value, ""):
            if what := self.what(text):
                return place or "the text", what
        return None

    def what(self, text: str) -> str | None:
        """Say what secret a text holds."""
        for secret, name in self.values.items():
            if _stands_in(secret, text):
                return f"the value of {name}"
        for what, signs, shape, drawn in _COMPILED:
            if any(sign in text for sign in signs) and any(
                not drawn or _is_drawn(found[0]) for found in shape.finditer(text)
            ):
                return what
        return None

    @cached_property
    def _escaped(self) -> tuple[str, ...]:
        return tuple(json.dumps(value, ensure_ascii=False)[1:-1] for value in self.values)


def _counts(value: str) -> bool:
    plain = value.isalpha() or value.isdecimal()
    return len(value) >= (_LONG if plain else _SHORT) and len(set(value)) > 2


def _stands_in(secret: str, text: str) -> bool:
    """Whether a text holds a secret; a short one on its own, not within a longer word."""
    if secret not in text:
        return False
    return len(secret) >= _LONG or bool(re.search(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", text))


def _is_drawn(text: str) -> bool:
    """Whether it looks drawn at random: a long run of letters and digits that is neither a word nor a number."""
    runs = re.findall(r"[A-Za-z0-9]{10,}", text)
    return any(not run.isalpha() and not run.isdecimal() and len(set(run)) > 5 for run in runs)


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every text in JSON-ready data, names included, and where it stands."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield place, str(name)
            yield from _texts(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _texts(item, f"{place}[{i}]")
