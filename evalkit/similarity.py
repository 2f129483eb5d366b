"""One similarity and one order of ties, for everyone.

FAISS, NumPy and torch agree to the bit in a minority of cases, and their answer for one pair depends on the batch
around it. Where a decision hangs on a score (a rank, a threshold) it is taken on this one: float64 sums of float32
products, each pair by itself.
"""

from __future__ import annotations

import numpy as np

from evalkit.columns import Array


def cosine(vectors: Array, query: Array) -> Array:
    """Return the cosine of unit vectors to a unit query.

    Parameters
    ----------
    vectors : float32 array of shape (n, d), or (q, n, d)
    query : float32 array of shape (d,), or (q, d) where every query has vectors of its own

    Returns
    -------
    float64 array of shape (n,) or (q, n)
        Each value depends on its own pair alone, to the bit. Equal vectors give exactly 1.
    """
    wide = query.astype(np.float64)
    products = vectors.astype(np.float64, order="C")
    products *= wide[..., None, :]
    sums = products.sum(axis=-1)
    scores = np.minimum(sums, 1.0)  # float32 vectors are a little off length 1: no twin beats itself
    alike = np.nonzero(sums == (wide * wide).sum(axis=-1)[..., None])  # twins are among them: the same products
    if alike[0].size:
        twins = (vectors[alike] == query[alike[:-1]]).all(axis=-1)
        scores[tuple(places[twins] for places in alike)] = 1.0
    return np.asarray(scores, dtype=np.float64)


def best_first(scores: Array, items: Array, k: int) -> Array:
    """Return the positions of the `k` best entries: score descending, then item ascending."""
    if len(scores) > 4 * k:  # drop what cannot be among the best before sorting; ties with the k-th stay
        worst = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= worst)
        return np.asarray(kept[np.lexsort((items[kept], -scores[kept]))[:k]])
    return np.lexsort((items, -scores))[:k]
