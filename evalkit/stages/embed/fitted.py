"""Static queries for a corpus that a teacher embeds: token vectors fitted to what the teacher made of the corpus."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from evalkit.columns import Array, Strings
from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.stages.embed.bags import bags, unit
from evalkit.stages.embed.sentence_transformer import SentenceTransformer
from evalkit.types import Embedder, Node
from evalkit.values import Chunks, Queries, Value, Vectors

_STEPS = 15  # of conjugate gradients; more change no third decimal of nDCG
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_FEWEST_WORDS = 3


@dataclass(frozen=True, eq=False)
class FittedTokens(Value):
    """Vectors of the tokens that occur in a corpus: ``ids`` int64 of shape (n,), ascending; ``values`` float32."""

    ids: Array
    values: Array


@dataclass(frozen=True)
class Sentences:
    """The titles and sentences of the chunks, as if they were asked: short texts, as queries are."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = True

    def __call__(self, chunks: Chunks) -> Queries:
        """Cut every chunk; a title comes with the chunk that begins its document."""
        texts = []
        for title, start, text in zip(chunks.title, chunks.start.tolist(), chunks.text, strict=True):
            pieces = [title if start == 0 else "", *_SENTENCE_END.split(text)]
            texts += [piece.strip() for piece in pieces if len(piece.split()) >= _FEWEST_WORDS]
        return Queries(Strings.of(map(str, range(len(texts)))), Strings.of(texts))


@dataclass(frozen=True)
class FitTokens:
    """Fit token vectors so that their mean over a text is the teacher's vector, less the mean of all of those."""

    tokenizer: str
    max_length: int
    ridge: float

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "tokenizers")

    def identity(self) -> dict[str, Any]:
        """Say what the tokenizer is, not where it lies."""
        return {"tokenizer": models.model_digest(self.tokenizer)}

    def __call__(self, asked: Queries, asked_vectors: Vectors, chunks: Chunks, vectors: Vectors) -> FittedTokens:
        """Fit to sentences and whole chunks alike; a text counts by the square root of its tokens."""
        counts = bags(self.tokenizer, [*asked.text, *chunks.searched], self.max_length).astype(np.float64)
        counts.sum_duplicates()
        targets = np.concatenate([asked_vectors.values, vectors.values]).astype(np.float64)
        ids = np.unique(counts.indices).astype(np.int64)
        if len(targets):
            targets -= targets.mean(axis=0)
        lengths = np.maximum(counts.sum(axis=1), 1)
        means = counts[:, ids].multiply(lengths[:, None] ** -0.75).tocsr()  # means, times the root of the weight
        fitted = ridge_regression(means, targets * lengths[:, None] ** 0.25, self.ridge)
        return FittedTokens(ids, fitted.astype(np.float32))


def ridge_regression(rows: Any, targets: Array, ridge: float) -> Array:
    """Minimise ``|rows @ found - targets|² + ridge |found|²`` by conjugate gradients from zero.

    Every sum is taken in a fixed order, by scipy's sparse products and NumPy: no BLAS, whose results depend on how
    many threads it has.

    Parameters
    ----------
    rows : scipy.sparse.csr_array, float64 of shape (n, tokens)
    targets : float64 array of shape (n, d)
    ridge : float

    Returns
    -------
    float64 array of shape (tokens, d)

    References
    ----------
    Hestenes and Stiefel, *Methods of Conjugate Gradients for Solving Linear Systems*, 1952; preconditioned by the
    diagonal.
    """
    columns = rows.T.tocsr()
    scale = 1 / (np.asarray(rows.multiply(rows).sum(axis=0)).reshape(-1, 1) + ridge)
    residual = columns @ targets
    found: Array = np.zeros_like(residual)
    direction = scale * residual
    size = (residual * direction).sum(axis=0)
    for _ in range(_STEPS):
        product = columns @ (rows @ direction) + ridge * direction
        step = _ratio(size, (direction * product).sum(axis=0))
        found += step * direction
        residual -= step * product
        improved = scale * residual
        before, size = size, (residual * improved).sum(axis=0)
        direction = improved + _ratio(size, before) * direction
    return found


def _ratio(above: Array, below: Array) -> Array:
    """Divide; 0 in a dimension that is solved already."""
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


@dataclass(frozen=True)
class MeanOfTokens:
    """Embed texts by the mean of fitted token vectors; tokens that the corpus has not are passed over."""

    tokenizer: str
    max_length: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "tokenizers")

    def identity(self) -> dict[str, Any]:
        """Say what the tokenizer is, not where it lies."""
        return {"tokenizer": models.model_digest(self.tokenizer)}

    def __call__(self, tokens: FittedTokens, texts: Chunks | Queries) -> Vectors:
        """Embed every text by itself."""
        from scipy.sparse import csr_array

        column = texts.searched if isinstance(texts, Chunks) else texts.text
        counts = bags(self.tokenizer, list(column), self.max_length)
        known = np.isin(counts.indices, tokens.ids)
        ends = np.concatenate([[0], np.cumsum(known)])[counts.indptr]
        places = np.searchsorted(tokens.ids, counts.indices[known])
        kept = csr_array((counts.data[known], places, ends), shape=(len(column), len(tokens.ids)))
        return Vectors(unit(np.asarray(kept @ tokens.values)))


@dataclass(frozen=True)
class FittedStatic:
    """A teacher's vectors for the corpus, and static vectors, fitted to them, for queries.

    The teacher embeds the chunks, as it would for itself, and their titles and sentences. Vectors of tokens are
    fitted to these by ridge regression: their mean over a text comes near the teacher's vector, less the mean of
    all. A query then costs microseconds and runs no network. Only the corpus is looked at, never a query.

    Parameters
    ----------
    teacher : Embedder
    tokenizer : str
        Name or folder of a model with a ``tokenizer.json``, for the fitted tokens.
    ridge : float
        Penalty on the squared length of token vectors: larger values trust tokens less that are seldom seen.
    max_length : int
        Fitted tokens after which a text is cut off; for the fit, about as many as the teacher reads.
    """

    teacher: Embedder = field(default_factory=SentenceTransformer)
    tokenizer: str = models.MINILM
    ridge: float = 0.01
    max_length: int = 256

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise InputError(f"FittedStatic: ridge is {self.ridge}; it must be above 0")
        if self.max_length < 1:
            raise InputError(f"FittedStatic: max_length is {self.max_length}; it must be at least 1")

    def identity(self) -> dict[str, Any]:
        """Say what the tokenizer is, not where it lies."""
        return {"tokenizer": models.model_digest(self.tokenizer)}

    def expand(self, chunks: Node, texts: Node) -> Node:
        """Return the teacher's node for `chunks`, and for other texts one that sums fitted tokens."""
        corpus = Node(self.teacher, (chunks,))
        if texts == chunks:
            return corpus
        asked = Node(Sentences(), (chunks,))
        fit = FitTokens(self.tokenizer, self.max_length, float(self.ridge))
        fitted = Node(fit, (asked, Node(self.teacher, (asked,)), chunks, corpus))
        return Node(MeanOfTokens(self.tokenizer, self.max_length), (fitted, texts))
