"""Who is nearest: FAISS proposes in float32, the one similarity in float64 decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evalkit.columns import Array, Ragged
from evalkit.similarity import cosine
from evalkit.values import Rankings

Search = Callable[[Array, int], tuple[Array, Array]]
"""From float32 queries of shape (q, d) and a depth to float32 scores and int64 positions of shape (q, depth), best
first; the position is -1 where nothing more was found."""

Score = Callable[[Array, Array], Array]
"""From float32 queries of shape (q, d) and int64 positions of shape (q, c) to scores of shape (q, c), each of which
depends on its own pair alone."""

_SPARE = 8  # candidates beyond k: near ties at the k-th place are rarely more
_AT_ONCE = 1 << 16  # numbers rescored at once: they stay in the processor's cache


def slack(dimensions: int) -> float:
    """How far a score in float32 may lie from one that decides: rounding, and lengths up to 1e-5 off 1."""
    return dimensions * float(np.finfo(np.float32).eps) + 2e-5


def nearest(
    search: Search, score: Score | None, queries: Array, k: int, *, limit: int, depth: int | None = None
) -> tuple[Array, Array]:
    """Return the `k` nearest of what a search can propose, ties by position, whatever batch a query came in.

    Parameters
    ----------
    search : Search
    score : Score, optional
        What decides; None: the proposed scores themselves.
    queries : float32 array of shape (q, d)
    k : int
    limit : int
        Candidates there are at most.
    depth : int, optional
        Candidates asked for at first; a few more than `k` if it is not given. More are taken while one that was not
        might belong to the best `k`.

    Returns
    -------
    (int64, float64) arrays of shape (q, min(k, limit))
        Positions and scores; the position is -1 where nothing more was found.
    """
    width, depth = min(k, limit), min(depth or k + _SPARE, limit)
    apart = 2 * slack(queries.shape[1]) if score else 0.0
    items, scores = np.full((len(queries), width), -1, dtype=np.int64), np.zeros((len(queries), width))
    rows = np.arange(len(queries))
    while len(rows) and limit:
        asked = np.ascontiguousarray(queries if len(rows) == len(queries) else queries[rows])
        proposed, found = search(asked, depth)
        near = (found >= 0) & (proposed >= proposed[:, width - 1 : width] - apart)
        settled = ~near[:, -1] if depth < limit else np.ones(len(rows), dtype=bool)
        if settled.any():
            kept = max(width, int(near[settled].sum(axis=1).max()))
            found, proposed = found[settled, :kept], proposed[settled, :kept]
            exact = score(asked[settled], found) if score else proposed.astype(np.float64)
            items[rows[settled]], scores[rows[settled]] = ranked(found, exact, k)
        rows, depth = rows[~settled], min(limit, depth * 4)
    return items, scores


def products(vectors: Array, queries: Array, items: Array) -> Array:
    """Return FAISS's inner products of every query and its own items, each pair by itself: float32 of shape (q, c).

    Where an item is -1, minus infinity.
    """
    import faiss

    arrays = [np.ascontiguousarray(array) for array in (queries, vectors, items)]  # to outlive their bare addresses
    scores = np.empty(items.shape, dtype=np.float32)
    given = map(faiss.swig_ptr, (scores, *arrays))
    faiss.fvec_inner_products_by_idx(*given, queries.shape[1], *items.shape)
    return scores


def cosines(vectors: Array, queries: Array, items: Array) -> Array:
    """Return the cosine of every query to its own items: float64 of shape (q, c)."""
    scores = np.empty(items.shape)
    step = max(1, _AT_ONCE // max(1, items.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        scores[rows] = cosine(np.take(vectors, items[rows], axis=0), queries[rows])
    return scores


def ranked(items: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """Return the best `k` of every row: score descending, then position ascending; -1 stands last."""
    order = np.lexsort((items, np.where(items < 0, np.inf, -scores)))[:, :k]
    places = order + np.arange(len(items))[:, None] * items.shape[1]
    return items.take(places), scores.take(places)


def rankings(items: Array, scores: Array) -> Rankings:
    """Return rows of positions and scores as a table, without what was not found."""
    there = items >= 0
    offsets = np.zeros(len(items) + 1, dtype=np.int64)
    np.cumsum(there.sum(axis=1), out=offsets[1:])
    return Rankings(Ragged(items[there].astype(np.int32), offsets), Ragged(scores[there], offsets))
