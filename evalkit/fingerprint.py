"""Identity of configurations: equal values, equal digest, in every process and on every machine.

A frozen dataclass is identified by its module, its name, its ``version`` and *every* field, defaults included; one
without a ``version`` that is not evalkit's own, or one from a notebook, also by its source.
Paths and labels never count: a class whose field names something by location (a model) says in
``identity()`` what it really is (the hash of the weights).
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import typing
import uuid
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any


def canonical(value: Any) -> Any:
    """Return `value` as JSON-ready data in one canonical form.

    Raises
    ------
    TypeError
        For a value without a stable identity: a function, an open file, a NaN.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no identity; give a finite number")
        return value + 0.0  # -0.0 and 0.0 are one value
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in sorted(value.items())}
    if is_dataclass(value) and not isinstance(value, type):
        named = {"is": class_name(type(value)), "version": getattr(value, "version", 1)}
        return named | {"code": code} | identity(value) if (code := _code(type(value))) else named | identity(value)
    raise TypeError(
        f"{type(value).__qualname__} {value!r} has no stable identity; use numbers, text or a frozen dataclass"
    )


def identity(value: Any) -> dict[str, Any]:
    """Return the canonical fields of a dataclass, as its own ``identity()`` states them if it has one."""
    own = value.identity() if hasattr(value, "identity") else {}
    kind: Any = type(value)
    floats = _float_fields(kind)
    stated = {}
    for field in fields(value):
        item = own.get(field.name, getattr(value, field.name))
        stated[field.name] = canonical(float(item) if field.name in floats and type(item) is int else item)
    return stated | {name: canonical(item) for name, item in own.items() if name not in stated}


def digest(value: Any) -> str:
    """Hash of the canonical form (BLAKE2b, 128 bits, hexadecimal)."""
    text = json.dumps(canonical(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def class_name(kind: type) -> str:
    """Return ``module:qualified name``."""
    return f"{kind.__module__}:{kind.__qualname__}"


@cache
def _code(kind: Any) -> str | None:
    """Hash of a class's source where nothing else says when its behaviour changes; None where `version` does.

    A class in a notebook or a script is edited in place, and two notebooks may name theirs alike, so there a
    `version` is not enough. A class without source, typed at a prompt, is never the same in another process.
    """
    if kind.__module__ != "__main__" and (hasattr(kind, "version") or _is_ours(kind)):
        return None
    own = [
        base for base in kind.__mro__ if base.__module__ not in ("builtins", "typing", "abc") and not _is_ours(base)
    ]
    try:
        return hashlib.blake2b("".join(map(inspect.getsource, own)).encode(), digest_size=16).hexdigest()
    except (OSError, TypeError):
        return uuid.uuid4().hex


def _is_ours(kind: Any) -> bool:
    return str(kind.__module__).partition(".")[0] == __name__.partition(".")[0]


@cache
def _float_fields(kind: Any) -> frozenset[str]:
    """Names of fields declared float: there 1 and 1.0 are the same."""
    hints = typing.get_type_hints(kind)
    return frozenset(name for name, hint in hints.items() if hint is float or float in typing.get_args(hint))
