"""Approximate search along a graph of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, Literal

import numpy as np

from evalkit.columns import Array, Ragged
from evalkit.stages.index.base import FaissIndex, check_k, check_least, one_thread
from evalkit.stages.index.nearest import cosines, nearest, rankings
from evalkit.types import Node
from evalkit.values import Rankings, Vectors


@dataclass(frozen=True, eq=False)
class Graph(FaissIndex):
    """An HNSW graph over distinct vectors; `places` holds the positions (int32) of each, ascending."""

    places: Ragged[Array]

    @cached_property
    def vectors(self) -> Array:
        """The distinct vectors, as the index holds them: float32 of shape (n, d)."""
        import faiss

        index = self.loaded
        held = faiss.rev_swig_ptr(faiss.downcast_index(index.storage).get_xb(), index.ntotal * index.d)
        return np.asarray(held.reshape(index.ntotal, index.d))


@dataclass(frozen=True)
class HNSWBuild:
    """Build the graph, on one thread: its bytes depend on the vectors alone."""

    m: int
    ef_construction: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)

    def __call__(self, vectors: Vectors) -> Graph:
        """Build over all distinct vectors."""
        import faiss

        values = np.ascontiguousarray(vectors.values)
        places = distinct(values)
        index = faiss.IndexHNSWFlat(values.shape[1], self.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.ef_construction
        with one_thread():
            index.add(values[places.values[places.offsets[:-1]]])
        return Graph(faiss.serialize_index(index), places)


def distinct(values: Array) -> Ragged[Array]:
    """Return the positions of every distinct row, in the order in which the rows first occur."""
    raw = values.view(np.dtype((np.void, values.itemsize * values.shape[1])))[:, 0]
    _, first, group = np.unique(raw, return_index=True, return_inverse=True)
    at = first[group]  # the position of each row's first copy
    order = np.lexsort((np.arange(len(at)), at))
    offsets = np.append(np.flatnonzero(np.diff(at[order], prepend=-1)), len(at))
    return Ragged(order.astype(np.int32), offsets.astype(np.int64))


@dataclass(frozen=True)
class HNSWSearch:
    """Rank the best `width` distinct vectors that a walk of that width meets; twins of each stand beside it."""

    width: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, index: Graph, queries: Vectors) -> Rankings:
        """Search for every query."""
        import faiss

        search = partial(index.loaded.search, params=faiss.SearchParametersHNSW(efSearch=self.width))
        width = min(self.width, len(index.places))
        found = nearest(search, partial(cosines, index.vectors), queries.values, self.k, limit=width)
        return _with_twins(rankings(*found), index.places, self.k)


def _with_twins(found: Rankings, places: Ragged[Array], k: int) -> Rankings:
    """Put positions for distinct vectors, all of each; among equal scores positions still ascend."""
    numbers = found.items.values
    starts = places.offsets[numbers]
    copies = places.offsets[numbers + 1] - starts
    if (copies == 1).all():
        return Rankings(Ragged(places.values[starts], found.items.offsets), found.scores)
    ends = np.append(0, np.cumsum(copies))
    items = places.values[np.arange(ends[-1]) + np.repeat(starts - ends[:-1], copies)]
    scores, offsets = np.repeat(found.scores.values, copies), ends[found.items.offsets]
    if (np.diff(found.scores.values) == 0).any():  # only then may positions be out of order
        order = np.lexsort((items, -scores, np.repeat(np.arange(len(found)), np.diff(offsets))))
        items, scores = items[order], scores[order]
    return Rankings(Ragged(items, offsets), Ragged(scores, offsets)).top(k)


@dataclass(frozen=True)
class HNSW:
    """Approximate search in a hierarchical navigable small-world graph (FAISS ``IndexHNSWFlat``).

    Exact cosines decide order and scores among what the walk meets. Equal vectors are one node of the graph and are
    found together: as many nodes they would link to each other alone and hide the rest. The build runs on one thread,
    so that it can be repeated to the byte.

    Parameters
    ----------
    m : int
        Links of a node to others of its layer; twice as many in the lowest layer.
    ef_construction : int
        Candidates kept while a node is linked.
    ef_search : int
        Candidates kept on the walk: more find more, and take longer. Where `k` is larger, `k` counts.

    References
    ----------
    Malkov and Yashunin, *Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
    World graphs*, IEEE TPAMI 2020.
    """

    m: int = 16
    ef_construction: int = 128
    ef_search: int = 80

    def __post_init__(self) -> None:
        check_least(self, 2, "m")
        check_least(self, 1, "ef_construction", "ef_search")

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""
        check_k(k)
        graph = Node(HNSWBuild(self.m, self.ef_construction), (vectors,))
        return Node(HNSWSearch(max(self.ef_search, k), k), (graph, query_vectors))
