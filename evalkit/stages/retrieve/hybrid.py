"""Dense and keyword rankings together."""

from __future__ import annotations

from dataclasses import dataclass, field

from evalkit.errors import InputError
from evalkit.stages.retrieve.alpha import Alpha
from evalkit.stages.retrieve.bm25 import BM25
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.retrieve.fusing import Fuse, FuseByQuery
from evalkit.stages.retrieve.fusion import RRF, Fusion
from evalkit.types import Node, Retriever


@dataclass(frozen=True)
class Hybrid:
    """Dense and keyword rankings fused, by default by weighted reciprocal rank.

    Parameters
    ----------
    dense, sparse : Retriever
        Their own ``k`` is the depth that enters the fusion.
    alpha : float or Alpha
        Weight of `dense`, from 0 to 1; `sparse` has ``1 - alpha``. A side of weight 0 has no results. An `Alpha` is a
        rule that gives every query a weight of its own.
    fusion : Fusion
    k : int
        Chunks returned.

    References
    ----------
    Cormack, Clarke and Büttcher, *Reciprocal Rank Fusion outperforms Condorcet and individual rank learning
    methods*, SIGIR 2009. Bruch, Gai and Ingber, *An Analysis of Fusion Functions for Hybrid Retrieval*, ACM TOIS
    2023.
    """

    dense: Retriever = field(default_factory=lambda: Dense(k=50))
    sparse: Retriever = field(default_factory=lambda: BM25(k=50))
    alpha: float | Alpha = 0.7
    fusion: Fusion = field(default_factory=RRF)
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)
        if isinstance(self.alpha, Alpha):
            return
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float):
            raise InputError(f"Hybrid: alpha {self.alpha!r} does not fit; give a number from 0 to 1 or an Alpha")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"Hybrid: alpha {self.alpha} does not fit; it is from 0 to 1")

    def expand(self, chunks: Node, query: Node) -> Node:
        """Expand both retrievers over the same nodes, then fuse."""
        both = self.dense.expand(chunks, query), self.sparse.expand(chunks, query)
        if isinstance(self.alpha, Alpha):
            return Node(FuseByQuery(self.fusion, self.k), (self.alpha.alphas(chunks, query), *both))
        return Node(Fuse(self.fusion, (float(self.alpha), 1 - float(self.alpha)), self.k), both)
