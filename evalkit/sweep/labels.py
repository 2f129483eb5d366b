"""What the variants of a sweep are called: by what was set."""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any


def label(point: Mapping[str, Any], nested: bool = False) -> str:
    """Return the fields that a point sets, as text, with components within components too if `nested`.

    A point that sets none is ``base``.
    """
    return " ".join(f"{path}={_short(value, nested)}" for path, value in point.items()) or "base"


def apart(name: str, taken: Sequence[Container[str]]) -> str:
    """Return a label, numbered if it is taken: two values may print alike."""
    numbered = itertools.chain([name], (f"{name} #{i}" for i in itertools.count(2)))
    return next(text for text in numbered if not any(text in names for names in taken))


def _short(value: Any, nested: bool) -> str:
    if not is_dataclass(value):
        return f"{value:g}" if isinstance(value, float) else str(value)
    stated = [
        f"{f.name}={_short(getattr(value, f.name), nested)}"
        for f in fields(value)
        if (nested or not is_dataclass(getattr(value, f.name)))
        and getattr(value, f.name) != getattr(_plainest(value), f.name, None)
    ]
    return f"{type(value).__name__}({', '.join(stated)})" if stated else type(value).__name__


def _plainest(value: Any) -> Any:
    """The component of the same class with all defaults, or None where some field has none."""
    try:
        return type(value)()
    except TypeError:
        return None
