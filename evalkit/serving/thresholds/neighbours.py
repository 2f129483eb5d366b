"""Near texts among those that matter: for a block of requests, every text that may hold an entry near enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.similarity import cosine

_COLUMNS = 16_384
_PAIRS = 16_384


class Near(NamedTuple):
    """Texts near one text, the nearest first; among them the text itself.

    Parameters
    ----------
    texts : int64 array of shape (k,)
        Rows of the vectors.
    similarity : float64 array of shape (k,)
        Cosines, by `evalkit.similarity`; descending.
    alone : bool
        Whether no other text is exactly as near as the text itself.
    """

    texts: Array
    similarity: Array
    alone: bool


def near(vectors: Array, asked: Array, among: Array, least: Array) -> dict[int, Near]:
    """Return for every text that is asked the texts that are near it.

    Parameters
    ----------
    vectors : float32 array of shape (texts, d)
        Of length 1.
    asked : int64 array
        Rows of the vectors, each once.
    among : int64 array of shape (c,)
        Rows to look among, each once, those that are asked included.
    least : float64 array of shape (c,)
        How near a text must be to the one that is looked among, to count.
    """
    rows, columns, scores = _pairs(vectors, asked, among, least)
    order = np.lexsort((columns, -scores, rows))
    rows, columns, scores = rows[order], columns[order], scores[order]
    ends = np.searchsorted(rows, np.arange(len(asked) + 1))
    found = {}
    for i, text in enumerate(asked.tolist()):
        part = slice(ends[i], ends[i + 1])
        found[text] = Near(columns[part], scores[part], bool((scores[part][:2] == 1).sum() < 2))
    return found


def _pairs(vectors: Array, asked: Array, among: Array, least: Array) -> tuple[Array, Array, Array]:
    """Return (position in `asked`, row of the near text, cosine) of every pair that counts.

    A product of float32 matrices proposes; what it may be off by is allowed for.
    """
    off = vectors.shape[1] * 2.0**-22
    left = vectors[asked]
    parts: list[tuple[Array, Array, Array]] = []
    for start in range(0, len(among), _COLUMNS):
        chosen, bound = among[start : start + _COLUMNS], least[start : start + _COLUMNS]
        rough = left @ vectors[chosen].T
        rows, columns = np.nonzero(rough >= (bound - off).astype(np.float32))
        for first in range(0, len(rows), _PAIRS):
            r, c = rows[first : first + _PAIRS], columns[first : first + _PAIRS]
            exact = cosine(vectors[chosen[c]][:, None, :], left[r])[:, 0]
            kept = exact >= bound[c]
            parts.append((r[kept], chosen[c[kept]], exact[kept]))
    return _joined(parts)


def _joined(parts: Sequence[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    rows, texts, scores = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(texts), np.concatenate(scores)
