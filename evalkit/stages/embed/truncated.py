"""Shorter vectors from longer ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from evalkit.errors import InputError
from evalkit.stages.embed.base import embedded
from evalkit.stages.embed.sentence_transformer import SentenceTransformer
from evalkit.types import Embedder, FittedEmbedder, Node
from evalkit.values import Vectors


@dataclass(frozen=True)
class Truncate:
    """Keep the first `dimensions` of every vector and bring it back to length 1.

    Raises
    ------
    InputError
        If the vectors have fewer dimensions, or one has nothing in those that are kept.
    """

    dimensions: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    def __call__(self, vectors: Vectors) -> Vectors:
        """Cut every vector: float32 of shape (n, dimensions)."""
        given = vectors.values.shape[1]
        if self.dimensions > given:
            raise InputError(f"Truncated: dimensions is {self.dimensions}; the embedder gives {given}")
        kept = vectors.values[:, : self.dimensions].astype(np.float64, order="C")
        lengths = np.sqrt(np.square(kept).sum(axis=1, keepdims=True))
        if not lengths.all():
            raise InputError(
                f"Truncated: a vector is zero in its first {self.dimensions} dimensions; keep more of them"
            )
        return Vectors(np.asarray(kept / lengths, dtype=np.float32))


@dataclass(frozen=True)
class Truncated:
    """Another embedder's vectors, cut to their first dimensions.

    Models trained for it (Matryoshka) lose little; others can be cut too, at a price that is to be measured. The
    texts are embedded once for all dimensions.

    Parameters
    ----------
    embedder : Embedder or FittedEmbedder
        Gives the whole vectors.
    dimensions : int
        How many dimensions are kept.

    References
    ----------
    Kusupati et al., *Matryoshka Representation Learning*, NeurIPS 2022.
    """

    embedder: Embedder | FittedEmbedder = field(default_factory=SentenceTransformer)
    dimensions: int = 128

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise InputError(f"Truncated: dimensions is {self.dimensions}; it must be at least 1")

    def expand(self, chunks: Node, texts: Node) -> Node:
        """Return the node of the cut vectors of `texts`; the whole ones are a node of their own."""
        return Node(Truncate(self.dimensions), (embedded(self.embedder, chunks, texts),))
