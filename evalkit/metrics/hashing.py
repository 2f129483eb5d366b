"""A hash table of rows in NumPy: a million look-ups in some ten milliseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []

Integers = NDArray[np.int64]
_FREE = np.int64(-1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)
_LOAD = 8  # slots per key, at least: most look-ups end at the first probe


class RowTable:
    """A map from (row, key) to numbers, built and read in whole arrays.

    Open addressing with linear probing. Each row has a stretch of slots of its own, so that look-ups row
    after row stay in the processor's cache. Probes that leave the stretch of a row go on into the next:
    slots hold row and key as one number.

    Parameters
    ----------
    offsets : NDArray[int64], shape (rows + 1,)
        Keys ``offsets[i]:offsets[i + 1]`` belong to row i.
    keys : NDArray[int64], shape (n,)
        Not negative, distinct within a row.
    values : NDArray[float64], shape (n,)
        One for each key.
    """

    def __init__(self, offsets: Integers, keys: Integers, values: NDArray[np.float64]) -> None:
        lengths = np.diff(offsets)
        bits = np.ceil(np.log2(np.maximum(lengths * _LOAD, 2))).astype(np.int64)
        self._shift = (64 - bits).astype(np.uint64)
        self._base = np.concatenate([[0], np.cumsum(1 << bits)])
        self._stride = int(keys.max()) + 1
        room = int(self._base[-1]) + keys.size + 1  # probes run past the last row, never around
        self._keys = np.full(room, _FREE)
        self._values = np.zeros(room)
        rows = np.repeat(np.arange(lengths.size), lengths)
        codes = rows * self._stride + keys
        slots = self._slots(self._shift[rows], self._base[rows], keys)
        pending = np.arange(keys.size)
        while pending.size:
            free = self._keys[slots] == _FREE
            self._keys[slots[free]] = codes[pending[free]]
            placed = self._keys[slots] == codes[pending]
            self._values[slots[placed]] = values[pending[placed]]
            pending, slots = pending[~placed], slots[~placed] + 1

    def get(self, rows: Integers, keys: Integers, default: float) -> NDArray[np.float64]:
        """Return the value of each key, `default` for those absent.

        Parameters
        ----------
        rows : NDArray[int64], shape (m,)
            Rows looked up in.
        keys : NDArray[int64], shape (m, width)
            Keys looked up in each; not negative.
        default : float
            For absent keys.

        Returns
        -------
        NDArray[float64], shape (m, width)
        """
        codes = keys + (rows * self._stride)[:, None]
        if int(keys.max(initial=0)) >= self._stride:
            codes[keys >= self._stride] = _FREE - 1  # the code of so large a key would be another row's
        slots = self._slots(self._shift[rows, None], self._base[rows, None], keys)
        found = self._keys[slots]
        hit = found == codes
        values = np.where(hit, self._values[slots], default)
        pending = np.flatnonzero(~hit & (found != _FREE))
        flat, codes, slots = values.ravel(), codes.ravel()[pending], slots.ravel()[pending]
        while pending.size:
            slots = slots + 1
            found = self._keys[slots]
            hit = found == codes
            flat[pending[hit]] = self._values[slots[hit]]
            going = ~hit & (found != _FREE)
            pending, codes, slots = pending[going], codes[going], slots[going]
        return values

    @staticmethod
    def _slots(shift: NDArray[np.uint64], base: Integers, keys: Integers) -> Integers:
        slots = keys.view(np.uint64) * _GOLDEN
        slots >>= shift
        slots += base.view(np.uint64)
        return slots.view(np.int64)
