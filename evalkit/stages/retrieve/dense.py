"""Retrieval by embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field

from evalkit.errors import InputError
from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.embed.base import embedded
from evalkit.stages.index import Flat
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.dropping import AtLeast
from evalkit.types import Embedder, FittedEmbedder, Index, Node


@dataclass(frozen=True)
class Dense:
    """Nearest neighbours of the query's embedding.

    Parameters
    ----------
    embedder : Embedder or FittedEmbedder
    index : Index
    k : int
        Chunks returned.
    floor : float or None
        The least cosine, from -1 to 1, as the index scores it: what is less near is dropped, so that fewer than `k`
        chunks, or none, may be returned. None: no floor.

    References
    ----------
    Karpukhin et al., *Dense Passage Retrieval for Open-Domain Question Answering*, EMNLP 2020.
    """

    embedder: Embedder | FittedEmbedder = field(default_factory=SentenceTransformer)
    index: Index = field(default_factory=Flat)
    k: int = 10
    floor: float | None = None

    def __post_init__(self) -> None:
        check_k(self, self.k)
        if self.floor is not None and not -1 <= self.floor <= 1:
            raise InputError(f"Dense: floor is {self.floor}; it is a cosine, from -1 to 1")

    def expand(self, chunks: Node, query: Node) -> Node:
        """Embed both sides, build, search; a floor is a step of its own, so that all floors share one search."""
        corpus, asked = embedded(self.embedder, chunks, chunks), embedded(self.embedder, chunks, query)
        found = self.index.expand(corpus, asked, self.k)
        return found if self.floor is None else Node(AtLeast(float(self.floor)), (found,))
