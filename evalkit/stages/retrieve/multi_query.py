"""One question, asked in several ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

from evalkit.errors import InputError
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.retrieve.fusing import fuse_rows
from evalkit.stages.retrieve.fusion import RRF, Fusion
from evalkit.stages.retrieve.rewrites import FeedbackRewrite, KeywordsOnly, Rewrite
from evalkit.types import Node, Retriever
from evalkit.values import Queries, Rankings


@dataclass(frozen=True)
class FuseVariations:
    """Fuse the rankings of a query's first distinct texts, all with one weight."""

    fusion: Fusion
    limit: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, *variations: Any) -> Rankings:
        """Fuse row by row; `variations` are the tables of queries, then their rankings in the same order."""
        half = len(variations) // 2
        queries, rankings = cast("Sequence[Queries]", variations[:half]), variations[half:]
        rows = zip(*(table.text for table in queries), strict=True)
        return fuse_rows(self.fusion, [self._weights(texts) for texts in rows], rankings, self.k)

    def _weights(self, texts: Sequence[str]) -> list[float]:
        first = {text.strip(): i for i, text in reversed(list(enumerate(texts))) if i == 0 or text.strip()}
        kept = sorted(first.values())[: self.limit]
        return [1 / len(kept) if i in kept else 0.0 for i in range(len(texts))]


@dataclass(frozen=True)
class MultiQuery:
    """Search for the question itself and for rewrites of it, and fuse what each finds.

    Each text's search is a node like any other, shared with whoever else asks it. A rewrite that gives a text anew,
    or none, does not count: a query that no rewrite changes has the retriever's own ranking.

    Parameters
    ----------
    retriever : Retriever
        Its own ``k`` is the depth that enters the fusion.
    rewrites : tuple of Rewrite or FeedbackRewrite
        In the order in which they count.
    fusion : Fusion
        All variations weigh the same.
    limit : int
        Distinct texts of each query that count, the question itself first among them; the founding documents' plan
        has three.
    k : int
        Chunks returned.
    """

    retriever: Retriever = field(default_factory=lambda: Dense(k=50))
    rewrites: tuple[Rewrite | FeedbackRewrite, ...] = field(default_factory=lambda: (KeywordsOnly(),))
    fusion: Fusion = field(default_factory=RRF)
    limit: int = 3
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)
        object.__setattr__(self, "rewrites", tuple(self.rewrites))
        if self.limit < 1:
            raise InputError(f"MultiQuery: limit is {self.limit}; it must be at least 1")

    def expand(self, chunks: Node, query: Node) -> Node:
        """Expand the retriever over the query and over each rewrite, then fuse."""
        own = self.retriever.expand(chunks, query)
        texts = [query, *(_rewritten(rewrite, chunks, query, own) for rewrite in self.rewrites)]
        rankings = [own, *(self.retriever.expand(chunks, text) for text in texts[1:])]
        return Node(FuseVariations(self.fusion, self.limit, self.k), (*texts, *rankings))


def _rewritten(rewrite: Rewrite | FeedbackRewrite, chunks: Node, query: Node, ranking: Node) -> Node:
    rewritten = getattr(rewrite, "rewritten", None)
    return Node(rewrite, (query,)) if rewritten is None else rewritten(chunks, query, ranking)  # type: ignore[arg-type]
