"""Retrievers: dense, keywords, and both fused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.similarity import best_first
from evalkit.stages.bm25 import BM25Build, BM25Search
from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.index import Flat
from evalkit.types import Embedder, Node, Retriever
from evalkit.values import Rankings


class Index(Protocol):
    """A vector index: expands into a node that builds and one that searches."""

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""


def _check_k(owner: object, k: object) -> None:
    if not isinstance(k, int):
        raise InputError(f"{type(owner).__name__}: k is {k!r}; it must be a whole number")
    if k < 1:
        raise InputError(f"{type(owner).__name__}: k is {k}; it must be at least 1")


@dataclass(frozen=True)
class Dense:
    """Nearest neighbours of the query's embedding.

    Parameters
    ----------
    embedder : Embedder
    index : Index
    k : int
        Chunks returned.

    References
    ----------
    Karpukhin et al., *Dense Passage Retrieval for Open-Domain Question Answering*, EMNLP 2020.
    """

    embedder: Embedder = field(default_factory=SentenceTransformer)
    index: Index = field(default_factory=Flat)
    k: int = 10

    def __post_init__(self) -> None:
        _check_k(self, self.k)

    def expand(self, chunks: Node, query: Node) -> Node:
        """Embed both sides, build, search."""
        return self.index.expand(Node(self.embedder, (chunks,)), Node(self.embedder, (query,)), self.k)


@dataclass(frozen=True)
class BM25:
    """Keyword search by Okapi BM25, in Lucene's form.

    Parameters
    ----------
    k1, b : float
        Term saturation and length normalisation; the defaults are those of Anserini's and Pyserini's baselines.
    stemmer : str or None
        A Snowball stemmer's name.
    stopwords : bool
        Drop English stop words.
    k : int
        Chunks returned; a chunk that shares no word with the query never is.

    References
    ----------
    Robertson et al., *Okapi at TREC-3*, 1994. Kamphuis et al., *Which BM25 do you mean?*, ECIR 2020.
    Lù, *BM25S*, 2024.
    """

    k1: float = 0.9
    b: float = 0.4
    stemmer: Literal["porter", "english"] | None = "porter"
    stopwords: bool = True
    k: int = 10

    def __post_init__(self) -> None:
        _check_k(self, self.k)
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise InputError(f"BM25: k1 {self.k1} and b {self.b} do not fit; k1 is at least 0 and b from 0 to 1")

    def expand(self, chunks: Node, query: Node) -> Node:
        """Build the keyword index, search it."""
        index = Node(BM25Build(self.k1, self.b, self.stemmer, self.stopwords), (chunks,))
        return Node(BM25Search(self.stemmer, self.stopwords, self.k), (index, query))


@dataclass(frozen=True)
class ReciprocalRankFusion:
    """Fuse two rankings: ``alpha / (c + rank in the first) + (1 - alpha) / (c + rank in the second)``."""

    alpha: float
    c: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, first: Rankings, second: Rankings) -> Rankings:
        """Fuse row by row; an item missing from one ranking gets nothing from it."""
        fused = [self._fuse(a, b) for a, b in zip(first.items, second.items, strict=True)]
        return Rankings.of([items for items, _ in fused], [scores for _, scores in fused])

    def _fuse(self, first: Array, second: Array) -> tuple[Array, Array]:
        items, where = np.unique(np.concatenate([first, second]), return_inverse=True)
        scores = np.zeros(len(items))
        for weight, ranked in ((self.alpha, where[: len(first)]), (1 - self.alpha, where[len(first) :])):
            scores[ranked] += weight / (self.c + np.arange(1, len(ranked) + 1))
        found = np.flatnonzero(scores > 0)  # at alpha 0 or 1 the other side's items are not results
        best = found[best_first(scores[found], items[found], self.k)]
        return items[best], scores[best]


@dataclass(frozen=True)
class Hybrid:
    """Dense and keyword rankings fused by weighted reciprocal rank.

    Parameters
    ----------
    dense, sparse : Retriever
        Their own ``k`` is the depth that enters the fusion.
    alpha : float
        Weight of `dense`, from 0 to 1; `sparse` has ``1 - alpha``.
    c : int
        The constant added to every rank (60 in the paper, where it is called k).
    k : int
        Chunks returned.

    References
    ----------
    Cormack, Clarke and Büttcher, *Reciprocal Rank Fusion outperforms Condorcet and individual rank learning
    methods*, SIGIR 2009.
    """

    dense: Retriever = field(default_factory=lambda: Dense(k=50))
    sparse: Retriever = field(default_factory=lambda: BM25(k=50))
    alpha: float = 0.7
    c: int = 60
    k: int = 10

    def __post_init__(self) -> None:
        _check_k(self, self.k)
        if not 0 <= self.alpha <= 1 or self.c < 0:
            raise InputError(
                f"Hybrid: alpha {self.alpha} and c {self.c} do not fit; alpha is from 0 to 1, c at least 0"
            )

    def expand(self, chunks: Node, query: Node) -> Node:
        """Expand both retrievers over the same nodes, then fuse."""
        both = self.dense.expand(chunks, query), self.sparse.expand(chunks, query)
        return Node(ReciprocalRankFusion(float(self.alpha), self.c, self.k), both)
