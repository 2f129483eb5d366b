"""Conditions on documents, over their metadata: which of them may be found."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError, nearest
from evalkit.stages.subset import Positions
from evalkit.values import Chunks, Documents

Fields = Mapping[str, Any]
"""A document's metadata, with its ``id`` and ``title``, which stand before metadata of the same name."""

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a text", dict: "a mapping"}


@dataclass(frozen=True)
class Condition:
    """What one field of a document must be; the defaults hold for every document.

    A field that is not there, is null or is an empty list is missing. A missing field fulfils ``missing``, and
    ``is not`` and ``not in`` whatever the value, and nothing else. A list fulfils a condition if one of its items
    does; ``is not`` and ``not in`` if none of its items is, or is in, the value. Texts are compared exactly; true is
    no number.

    Parameters
    ----------
    field : str
        Of the metadata; or ``id`` or ``title``, which every document has.
    operator : {"is", "is not", "in", "not in", "<", "<=", ">", ">=", "exists", "missing"}
    value : bool, number, text, tuple of these, or None
        A tuple for ``in`` and ``not in``; for the four that compare a number, or an ISO date, with or without a time,
        as text (no time is midnight, no zone is UTC); None for ``exists`` and ``missing``. To be, or not to be, None
        is to be missing, or to exist.
    """

    field: str = "id"
    operator: Literal["is", "is not", "in", "not in", "<", "<=", ">", ">=", "exists", "missing"] = "is not"
    value: bool | int | float | str | tuple[bool | int | float | str, ...] | None = None

    def __post_init__(self) -> None:
        given: Any = self.value
        if isinstance(given, list):
            object.__setattr__(self, "value", tuple(given))
        wrong = self._wrong()
        if wrong:
            raise InputError(f"Condition: {self.field!r} {self.operator} {self.value!r}: {wrong}")

    def _wrong(self) -> str | None:
        known = ("is", "is not", "in", "not in", *_ORDER, "exists", "missing")
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if not _is_name(self.field):
            return "the field is not a name"
        if self.operator not in known:
            return f"no such operator{nearest(str(self.operator), known)}"
        if (self.operator in ("in", "not in")) != isinstance(self.value, tuple):
            return "'in' and 'not in' take a list of values, the others one value"
        if self.operator in ("exists", "missing"):
            return None if self.value is None else f"'{self.operator}' takes no value"
        if self.value is None and self.operator in ("is", "is not"):
            return None
        if not values or not all(map(_is_plain, values)):
            return "values are true or false, finite numbers and texts"
        if self.operator in _ORDER and _ordered(self.value) is None:
            return "numbers and ISO dates such as '2024-05-31' can be compared"
        return None

    def holds(self, documents: Sequence[Fields]) -> Array:
        """Say of which documents it holds: bool of shape (n,).

        Raises
        ------
        InputError
            If no document has the field, if none has a value of the condition's kind in it, or if a value cannot be
            compared with the condition's.
        """
        known = {name for document in documents for name in document}
        if documents and self.field not in known:
            raise InputError(f"filter: no document has the field '{self.field}'{nearest(self.field, known)}")
        held = [_items(document.get(self.field)) for document in documents]
        if self.operator in _ORDER:
            return np.array([self._compares(*pair) for pair in zip(documents, held, strict=True)], dtype=bool)
        if self.value is None:
            there = np.array([bool(items) for items in held], dtype=bool)
            return there if self.operator in ("exists", "is not") else ~there
        return self._equals(held) ^ (self.operator in ("is not", "not in"))

    def _equals(self, held: Sequence[list[Any]]) -> Array:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        kinds = {_kind(item) for items in held for item in items}
        for value in values:
            if kinds and _kind(value) not in kinds:
                raise InputError(
                    f"filter: '{self.field}' is {' or '.join(sorted(kinds))} in every document, never "
                    f"{_kind(value)} such as {value!r}; write the condition's value alike"
                )
        among = {(_kind(value), value) for value in values}
        plain = ([(_kind(item), item) for item in items if _is_plain(item)] for items in held)
        return np.array([not among.isdisjoint(items) for items in plain], dtype=bool)

    def _compares(self, document: Fields, items: Sequence[Any]) -> bool:
        wanted, found = _ordered(self.value), [_ordered(item) for item in items]
        for item, ordered in zip(items, found, strict=True):
            if ordered is None or isinstance(ordered, datetime) != isinstance(wanted, datetime):
                raise InputError(
                    f"filter: '{self.field}' of document '{document['id']}' is {item!r}, which cannot be compared "
                    f"with {self.value!r}; numbers can be with numbers, and ISO dates with ISO dates"
                )
        return any(_ORDER[self.operator](ordered, wanted) for ordered in found)


@dataclass(frozen=True)
class NotDeleted:
    """Hides documents that are marked as deleted. A corpus in which none is needs no such field.

    Parameters
    ----------
    field : str
        A document is hidden where this field holds anything but false, 0, null, an empty text or an empty list: a
        flag will do, and so will the time of the deletion.
    """

    field: str = "deleted"

    def __post_init__(self) -> None:
        if not _is_name(self.field):
            raise InputError(f"NotDeleted: {self.field!r} is not a field's name")

    def holds(self, documents: Sequence[Fields]) -> Array:
        """Say which documents are not deleted: bool of shape (n,)."""
        return np.array([not any(_items(document.get(self.field))) for document in documents], dtype=bool)


@dataclass(frozen=True)
class Keep:
    """Positions of the chunks whose documents fulfil every condition."""

    where: tuple[Condition | NotDeleted, ...]

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "filter"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, documents: Documents, chunks: Chunks) -> Positions:
        """Look at every document once."""
        fields = [_fields(*row) for row in zip(documents.id, documents.title, documents.metadata, strict=True)]
        held = np.ones(len(fields), dtype=bool)
        for condition in self.where:
            held &= condition.holds(fields)
        kept = {name for name, holds in zip(documents.id, held, strict=True) if holds}
        return Positions(np.flatnonzero(np.array([name in kept for name in chunks.document], dtype=bool)))


def _fields(name: str, title: str, metadata: str) -> Fields:
    found = json.loads(metadata)
    if not isinstance(found, dict):
        raise InputError(f"filter: the metadata of document '{name}' are {metadata[:40]}; a JSON object is needed")
    return {**found, "id": name, "title": title}


def _items(value: Any) -> list[Any]:
    return [item for item in (value if isinstance(value, list) else [value]) if item is not None]


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a list")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_plain(value: Any) -> bool:
    return type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def _ordered(value: Any) -> float | datetime | None:
    """A number or a date as what it is compared by; None for anything else."""
    if type(value) is int or type(value) is float:
        return value
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
