"""Search among codes: candidates by the scores of the codes, then, if wanted, the best of them by exact ones."""

from __future__ import annotations

from functools import partial

import numpy as np

from evalkit.stages.index.nearest import Search, cosines, nearest, products, rankings
from evalkit.types import Node
from evalkit.values import Rankings, Vectors


def search_codes(search: Search, size: int, rescore: int, k: int, given: tuple[Vectors, ...]) -> Rankings:
    """Return the `k` best of `size` codes, by their own scores or by exact ones.

    Parameters
    ----------
    search : Search
    size, k : int
    rescore : int
        So many of the best codes are ranked anew by `cosine`; 0: the codes' scores decide.
    given : tuple of Vectors
        The vectors, if `rescore` is not 0, and the queries.
    """
    *vectors, queries = (table.values for table in given)
    items, scores = nearest(search, None, queries, rescore or k, limit=size)
    if rescore:
        proposed = products(vectors[0], queries, items)
        score = partial(cosines, vectors[0])
        order = np.argsort(-proposed, axis=1)
        shortlist = np.take_along_axis(proposed, order, axis=1), np.take_along_axis(items, order, axis=1)
        width = items.shape[1]
        items, scores = nearest(lambda asked, depth: shortlist, score, queries, k, limit=width, depth=width)
    return rankings(items, scores)


def inputs(index: Node, vectors: Node, query_vectors: Node, rescore: int) -> tuple[Node, ...]:
    """Return the inputs of a search among codes: without rescoring the vectors are not needed."""
    return (index, vectors, query_vectors) if rescore else (index, query_vectors)
