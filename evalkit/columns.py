"""Columns of a table: arrays, strings and ragged lists, all of them plain NumPy arrays underneath.

A column can be cut (`take`), joined (`concat`) and laid down as named arrays (`flatten`), so every value that
flows through the graph is stored, hashed and memory-mapped by the same few lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Strings(Sequence[str]):
    """Immutable strings as UTF-8 bytes and offsets.

    Parameters
    ----------
    data : uint8 array of shape (bytes,)
        All strings, one behind the other.
    offsets : int64 array of shape (n + 1,)
        String ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
    """

    data: Array
    offsets: Array

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """Build from Python strings."""
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(e) for e in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return bytes(self.data[self.offsets[i] : self.offsets[i + 1]]).decode()

    def __iter__(self) -> Iterator[str]:
        raw = bytes(self.data)
        for start, end in pairwise(self.offsets.tolist()):
            yield raw[start:end].decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


C = TypeVar("C", Strings, Array)


@dataclass(frozen=True, eq=False)
class Ragged(Generic[C]):
    """A list of varying length in every row.

    Parameters
    ----------
    values : Strings or array of shape (m, ...)
        The lists' elements, row after row.
    offsets : int64 array of shape (n + 1,)
        Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: C
    offsets: Array

    @classmethod
    def of(cls, rows: Sequence[Any], dtype: Any = None) -> Ragged[C]:
        """Build from one sequence a row; strings where `dtype` is not given."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        if dtype is None:
            texts: Any = Strings.of(text for row in rows for text in row)
            return cls(texts, offsets)
        parts = [np.asarray(row, dtype=dtype) for row in rows]
        return cls(cast("C", np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Any:
        i = range(len(self))[row]
        return self.values[int(self.offsets[i]) : int(self.offsets[i + 1])]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


Column = Strings | Ragged[Any] | Array


def _spans(offsets: Array, rows: Array) -> tuple[Array, Array]:
    """Return positions of all elements in `rows` and the new offsets."""
    lengths = (offsets[1:] - offsets[:-1])[rows]
    out = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(lengths, out=out[1:])
    positions = np.arange(out[-1], dtype=np.int64) + np.repeat(offsets[:-1][rows] - out[:-1], lengths)
    return positions, out


def take(column: Column, rows: Array) -> Column:
    """Return the given rows of a column, in the given order."""
    if isinstance(column, Strings):
        positions, offsets = _spans(column.offsets, rows)
        return Strings(column.data[positions], offsets)
    if isinstance(column, Ragged):
        positions, offsets = _spans(column.offsets, rows)
        return Ragged(cast("Any", take(column.values, positions)), offsets)
    return cast("Column", column[rows])


def concat(columns: Sequence[Column]) -> Column:
    """Join columns of one kind, top to bottom."""
    first = columns[0]
    if len(columns) == 1:
        return first
    if isinstance(first, Strings | Ragged):
        lengths = np.concatenate([np.diff(cast("Any", c).offsets) for c in columns])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        if isinstance(first, Strings):
            return Strings(np.concatenate([cast("Any", c).data for c in columns]), offsets)
        return Ragged(cast("Any", concat([cast("Any", c).values for c in columns])), offsets)
    return cast("Column", np.concatenate(cast("list[Array]", columns)))


def flatten(name: str, column: Column) -> Iterator[tuple[str, Array]]:
    """Lay a column down as named arrays; the names say how to read them back."""
    if isinstance(column, Strings):
        yield f"{name}.utf8", column.data
        yield f"{name}.ends", column.offsets
    elif isinstance(column, Ragged):
        yield f"{name}.rows", column.offsets
        yield from flatten(f"{name}.items", column.values)
    else:
        yield name, np.ascontiguousarray(column)


def unflatten(name: str, arrays: dict[str, Array]) -> Column:
    """Read a column back from named arrays, without copying."""
    if f"{name}.utf8" in arrays:
        return Strings(arrays[f"{name}.utf8"], arrays[f"{name}.ends"])
    if f"{name}.rows" in arrays:
        return Ragged(cast("Any", unflatten(f"{name}.items", arrays)), arrays[f"{name}.rows"])
    return arrays[name]
