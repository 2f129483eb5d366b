"""What tells one call to a model from another: who answers, what was asked, and which sample of the answer."""

from __future__ import annotations

from typing import Any

from evalkit import fingerprint
from evalkit.machine import packages_of
from evalkit.types import Digest, Generator
from evalkit.values import Prompt


def call_key(generator: Generator, prompt: Prompt, sample: int) -> Digest:
    """Return the key of a call: by content and by an explicit sample number, never by the order of calls."""
    return fingerprint.digest(["call", generator, packages_of(generator), prompt, sample])


def asked(generator: Generator, prompt: Prompt, sample: int) -> dict[str, Any]:
    """Return what a call was made with as JSON-ready data, for whoever reads its record."""
    return {
        "generator": fingerprint.canonical(generator),
        "prompt": fingerprint.canonical(prompt),
        "sample": sample,
    }
