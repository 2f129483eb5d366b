"""Fields of a variant by dotted path: ``retrieve.dense.k``."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

from evalkit.errors import InputErrors
from evalkit.forms import Reader, build, plain
from evalkit.variants import Variant, components

MISSING: Any = object()
"""Stands where a value has no field at a path."""


def has_path(value: Any, path: str) -> bool:
    """Whether a value has a field at a dotted path."""
    return look_up(value, {}, path) is not MISSING


def get_path(value: Any, path: str) -> Any:
    """Return the field at a dotted path; the value itself at the empty one."""
    for name in path.split(".") if path else ():
        value = getattr(value, name)
    return value


def look_up(base: Any, point: Mapping[str, Any], path: str) -> Any:
    """Return what is at a path of `base` once the paths of `point` are set in it, or `MISSING`.

    Nothing is made, so that a point can be judged whose values do not fit one another.
    """
    value, above = base, ""
    for name in path.split("."):
        if name not in _names(value.__class__):
            return MISSING
        above = f"{above}.{name}" if above else name
        value = point[above] if above in point else getattr(value, name)
    return value


def paths_of(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted path that can be set."""
    if is_dataclass(value):
        for item in fields(value):
            yield f"{prefix}{item.name}"
            yield from paths_of(getattr(value, item.name), f"{prefix}{item.name}.")


def parameters(variant: Variant) -> dict[str, Any]:
    """Return every field of a variant by dotted path, defaults included; a component is its class's name."""
    found: dict[str, Any] = {}
    for path in paths_of(variant):
        value = get_path(variant, path)
        found[path] = type(value).__name__ if is_dataclass(value) else plain(value)
    return found


def set_paths(value: Any, news: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return a copy of `value` with the fields at some paths replaced, and which of the paths it has.

    What lies deep is set in the component that the shallow paths put there, and all fields of one component are set
    in one step, since they may need one another.

    Raises
    ------
    InputError
        If a component refuses its fields.
    """
    inner: dict[str, dict[str, Any]] = {}
    for path, new in news.items():
        name, _, rest = path.partition(".")
        if name in _names(value.__class__):
            inner.setdefault(name, {})[rest] = new
    made, used = {}, []
    for name, below in inner.items():
        there = getattr(value, name)
        if "" in below:
            there = held(type(value), name, below.pop(""))
            used.append(name)
        made[name], deeper = set_paths(there, below)
        used += [f"{name}.{rest}" for rest in deeper]
    return (replace(value, **made) if used else value), used


def held(kind: Any, name: str, value: Any) -> Any:
    """Return a value as a field of a class holds it.

    Raises
    ------
    InputErrors
        If it is of another type.
    """
    reader = Reader(components())
    fitted = build(value, _hints(kind)[name], reader)
    if reader.faults:
        raise InputErrors([fault.removeprefix(": ") for fault in reader.faults])
    return fitted


@cache
def _names(kind: Any) -> frozenset[str]:
    return frozenset(item.name for item in fields(kind)) if is_dataclass(kind) else frozenset()


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
