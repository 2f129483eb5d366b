"""Ragged rows in flat arrays, and as padded matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []

Integers = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)
_BLOCK = 1 << 16  # elements treated at once: the few matrices of a block stay in the processor's cache


def blocks(widths: Integers) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that hold a bounded number of elements when padded to the widest of all."""
    step = max(1, _BLOCK // max(1, int(widths.max(initial=1))))
    for start in range(0, widths.size, step):
        yield start, min(start + step, widths.size)


def positions(starts: Integers, lengths: Integers) -> slice | Integers:
    """Return where the elements of some rows stand in the flat array, one row after the other."""
    ends = np.cumsum(lengths)
    if (starts[1:] == starts[0] + ends[:-1])[lengths[1:] > 0].all() and lengths[0]:
        return slice(int(starts[0]), int(starts[0] + ends[-1]))
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(int(ends[-1]))


def padded(values: NDArray[Number], lengths: Integers, fill: float) -> NDArray[Number]:
    """Return consecutive rows as a matrix of shape (rows, longest)."""
    depth = int(lengths.max())
    if values.size == lengths.size * depth:
        return values.reshape(lengths.size, depth)
    matrix = np.full((lengths.size, depth), fill, dtype=values.dtype)
    matrix[np.arange(depth) < lengths[:, None]] = values
    return matrix


def repeated_rows(values: Integers, offsets: Integers) -> Integers:
    """Return the rows in which a non-negative number occurs twice."""
    lengths = np.diff(offsets)
    found = [np.zeros(0, dtype=np.int64)]
    for start, stop in blocks(lengths):
        matrix = padded(values[offsets[start] : offsets[stop]], lengths[start:stop], -1)
        ordered = np.sort(matrix, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        found.append(start + np.flatnonzero(repeated.any(axis=1)))
    return np.concatenate(found)
