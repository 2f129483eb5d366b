"""Dense and keyword rankings together."""

from __future__ import annotations

from dataclasses import dataclass, field

from evalkit.errors import InputError
from evalkit.stages.retrieve.bm25 import BM25
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.retrieve.fusion import ReciprocalRankFusion
from evalkit.types import Node, Retriever


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
        check_k(self, self.k)
        if not 0 <= self.alpha <= 1 or self.c < 0:
            raise InputError(
                f"Hybrid: alpha {self.alpha} and c {self.c} do not fit; alpha is from 0 to 1, c at least 0"
            )

    def expand(self, chunks: Node, query: Node) -> Node:
        """Expand both retrievers over the same nodes, then fuse."""
        both = self.dense.expand(chunks, query), self.sparse.expand(chunks, query)
        return Node(ReciprocalRankFusion(float(self.alpha), self.c, self.k), both)
