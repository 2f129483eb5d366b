"""Retrieval by embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field

from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.embed.base import embedded
from evalkit.stages.index import Flat
from evalkit.stages.retrieve.checks import check_k
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

    References
    ----------
    Karpukhin et al., *Dense Passage Retrieval for Open-Domain Question Answering*, EMNLP 2020.
    """

    embedder: Embedder | FittedEmbedder = field(default_factory=SentenceTransformer)
    index: Index = field(default_factory=Flat)
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)

    def expand(self, chunks: Node, query: Node) -> Node:
        """Embed both sides, build, search."""
        corpus, asked = embedded(self.embedder, chunks, chunks), embedded(self.embedder, chunks, query)
        return self.index.expand(corpus, asked, self.k)
