"""Names of queries and documents: all text or all whole numbers, never both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import MetricError

__all__: list[str] = []

Id = str | int
Integers = NDArray[np.int64]


def names(ids: Iterable[Any], what: str) -> list[Any]:
    """Return `ids` as a list of `str` only, or of `int` only.

    Parameters
    ----------
    ids : Iterable
        Python or NumPy strings or integers.
    what : str
        What they name, for the error message.

    Raises
    ------
    MetricError
        If the types are mixed or are neither text nor whole numbers.
    """
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    kinds = set(map(type, values))
    if kinds <= {str} or kinds == {int}:
        return values
    if all(issubclass(kind, np.str_) for kind in kinds):
        return [str(value) for value in values]
    if all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        return [int(value) for value in values]
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise MetricError(f"{what} ids are of types {found}; make them all str or all int")


def flat_ids(ids: Iterable[Any], what: str) -> Integers | list[str]:
    """Return `ids` as an int64 array if they are whole numbers, else as a list of text.

    Raises
    ------
    MetricError
        As for `names`, and if a whole number is negative.
    """
    if isinstance(ids, np.ndarray) and np.issubdtype(ids.dtype, np.integer):
        numbers = ids.astype(np.int64, copy=False)
    else:
        values = names(ids, what)
        if not values or isinstance(values[0], str):
            return values
        numbers = np.array(values, dtype=np.int64)
    if numbers.size and numbers.min() < 0:
        raise MetricError(f"{what} id {numbers.min()} is negative; number {what}s from 0")
    return numbers


def floats(values: Iterable[Any], size: int, what: str) -> NDArray[np.float64]:
    """Return `size` finite float64 values.

    Raises
    ------
    MetricError
        If one is not a number, or is NaN or infinite.
    """
    try:
        if isinstance(values, np.ndarray):
            array = values.astype(np.float64, copy=False).ravel()
        else:
            array = np.fromiter(values, dtype=np.float64, count=size)
    except (TypeError, ValueError) as error:
        raise MetricError(f"{what}: {error}; give one finite number for each document") from error
    if array.size != size:
        raise MetricError(f"{what}: {array.size} values for {size} documents; give one for each")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise MetricError(f"{what} {array[at]} at position {at} is not finite; remove it or give it a value")
    return array


def check_size(documents: Integers, queries: int) -> None:
    """Refuse document numbers so large that a query and a document do not fit one integer."""
    if documents.size and queries * (int(documents.max()) + 1) >= 2**62:
        raise MetricError(f"document id {documents.max()} is too large; number documents from 0")


def first_repeat(sequence: Sequence[Any]) -> Any:
    """Return the first element that occurs a second time."""
    seen = set()
    for element in sequence:
        if element in seen:
            return element
        seen.add(element)
    raise AssertionError("nothing repeats")
