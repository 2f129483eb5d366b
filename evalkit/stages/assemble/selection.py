"""Which chunks a prompt takes first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.similarity import best_first, cosine
from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.embed.base import embedded
from evalkit.types import Embedder, FittedEmbedder, Node
from evalkit.values import Rankings, Vectors


@dataclass(frozen=True)
class TakeFarthest:
    """Order every ranking so that, behind its first, each chunk is the farthest from all before it.

    Its score is the cosine to the nearest of them, negative, so that scores never rise; the first one's is 1.
    """

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, vectors: Vectors, rankings: Rankings) -> Rankings:
        """Order row by row."""
        rows = [self._take(items, vectors.values[items]) for items in rankings.items]
        return Rankings.of([items for items, _ in rows], [scores for _, scores in rows])

    def _take(self, items: Array, vectors: Array) -> tuple[Array, Array]:
        nearest = np.full(len(items), -1.0)
        taken: list[int] = []
        scores: list[float] = []
        for _ in range(len(items)):
            values = -nearest
            values[taken] = -np.inf
            best = int(best_first(values, items, 1)[0]) if taken else 0
            taken.append(best)
            scores.append(float(values[best]))
            nearest = np.maximum(nearest, cosine(vectors, vectors[best]))
        return items[taken], np.array(scores)


@dataclass(frozen=True)
class Relevance:
    """The order of the ranking, as it is."""

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Return the ranking."""
        return ranking


@dataclass(frozen=True)
class Diversity:
    """The first chunk of the ranking, then again and again the one that is farthest from all before it.

    Farthest is what has the smallest cosine to the nearest of them. The question plays no part: the ranking says
    where to begin and which chunks there are to choose from, so it should not be deep.

    Parameters
    ----------
    embedder : Embedder or FittedEmbedder
        Where the retriever has the same, its vectors are used.

    References
    ----------
    Gonzalez, *Clustering to minimize the maximum intercluster distance*, Theoretical Computer Science 1985.
    """

    embedder: Embedder | FittedEmbedder = field(default_factory=SentenceTransformer)

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Embed the chunks, order."""
        return Node(TakeFarthest(), (embedded(self.embedder, chunks, chunks), ranking))
