"""Lists of vectors around centroids: how they are made, and how a few of them are searched."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.stages.index.base import FaissIndex, one_thread
from evalkit.stages.index.nearest import cosines, nearest, products

_SEED = 1234


def rule(size: int) -> int:
    """Lists for a number of vectors: four times its square root."""
    return round(4 * math.sqrt(size))


def build_lists(values: Array, taught: Array, lists: int | None, make: Callable[[Any, int], Any]) -> FaissIndex:
    """Build an index of lists, on one thread.

    Every vector goes to the list of its nearest centroid by `cosine`, so that twins are never parted. A list that
    stays empty is dropped.

    Parameters
    ----------
    values : float32 array of shape (n, d)
        What the lists hold.
    taught : float32 array of shape (t, d)
        What the centroids and the codes are learnt from, by k-means with a fixed seed.
    lists : int or None
        None leaves the number to `rule`; there are never more than vectors to learn from.
    make : callable
        From the FAISS index of the centroids, and their number, to the index that is to be trained and filled.
    """
    import faiss

    d = values.shape[1]
    coarse = faiss.IndexFlatIP(d)
    if not len(values):
        return FaissIndex(faiss.serialize_index(coarse))
    with one_thread():
        number = min(lists or rule(len(taught)), len(taught))
        means = faiss.Kmeans(d, number, niter=10, spherical=True, seed=_SEED, min_points_per_centroid=1)
        means.train(taught)
        coarse.add(means.centroids)
        own, _ = nearest(coarse.search, partial(cosines, means.centroids), values, 1, limit=number, depth=2)
        used, own = np.unique(own[:, 0], return_inverse=True)
        coarse.reset()
        coarse.add(means.centroids[used])
        index = make(coarse, len(used))
        index.train(taught)
        own = np.ascontiguousarray(own, dtype=np.int64)
        index.add_core(len(values), faiss.swig_ptr(values), None, faiss.swig_ptr(own))
        return FaissIndex(faiss.serialize_index(index))


def search_lists(index: Any, probes: int, queries: Array, depth: int) -> tuple[Array, Array]:
    """Return the best by FAISS's score of the lists that are nearest to each query; threads may share the index."""
    import faiss

    index.parallel_mode = 3  # queries side by side, each on one thread
    lists, near = nearest_lists(index, probes, queries)
    scores, items = np.empty((len(queries), depth), np.float32), np.empty((len(queries), depth), np.int64)
    asked, *given = map(faiss.swig_ptr, (queries, lists, near, scores, items))
    settings = faiss.SearchParametersIVF(nprobe=lists.shape[1])
    index.search_preassigned_c(len(queries), asked, depth, *given, False, settings)
    return scores, items


def nearest_lists(index: Any, probes: int, queries: Array) -> tuple[Array, Array]:
    """Return the lists with the nearest centroids, and their inner products: int64 and float32 of shape (q, probes).

    FAISS's product of a pair by itself decides; what its search proposes depends on the batch.
    """
    import faiss

    coarse = faiss.downcast_index(index.quantizer)
    centroids = faiss.rev_swig_ptr(coarse.get_xb(), index.nlist * index.d).reshape(index.nlist, index.d)
    lists, scores = nearest(coarse.search, partial(products, centroids), queries, probes, limit=index.nlist)
    return lists, scores.astype(np.float32)
