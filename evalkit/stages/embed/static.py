"""Embedding without a network: a text is the sum of its tokens' vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.stages.embed.bags import bags, lengths, unit
from evalkit.stages.embed.distill import distilled
from evalkit.values import Chunks, Queries, Vectors


@dataclass(frozen=True)
class Static:
    """Token vectors distilled from a sentence-transformers model, summed over a text.

    No corpus is seen: the model embeds every token of its vocabulary once, which is kept (``EVALKIT_MODELS``). From
    then on neither torch nor a network runs. A text without any known token gets the first axis.

    Parameters
    ----------
    model : str
        The teacher: a hub name that is on this machine, or a folder. Its identity is the hash of its files.
    dimensions : int or None
        Principal axes of the token vectors that are kept; None for as many as the teacher has.
    sif : float
        Of smooth inverse frequency: a token of probability p weighs ``sif / (sif + p)``. Smaller values tell rare
        tokens from frequent ones more strongly.
    max_length : int
        Tokens after which a text is cut off; there are no special tokens.

    Raises
    ------
    InputError
        At first use, if the teacher has fewer dimensions.

    References
    ----------
    Tulkens and van Dongen, *Model2Vec: Fast State-of-the-Art Static Embeddings*, 2024. Arora et al., *A Simple but
    Tough-to-Beat Baseline for Sentence Embeddings*, ICLR 2017.
    """

    model: str = models.MINILM
    dimensions: int | None = None
    sif: float = 5e-5
    max_length: int = 512

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = (
        "numpy", "scipy", "sentence-transformers", "tokenizers", "torch", "transformers",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.dimensions is not None and self.dimensions < 1:
            raise InputError(f"Static: dimensions is {self.dimensions}; it must be at least 1, or nothing for all")
        if not 0 < self.sif < 1:
            raise InputError(f"Static: sif is {self.sif}; it must be above 0 and below 1")
        if self.max_length < 1:
            raise InputError(f"Static: max_length is {self.max_length}; it must be at least 1")

    def identity(self) -> dict[str, Any]:
        """Say what the model is, not where it lies."""
        return {"model": models.model_digest(self.model)}

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        """Embed chunks (titles included) or queries: float32 of shape (n, d)."""
        return Vectors(self.encode(list(texts.searched if isinstance(texts, Chunks) else texts.text)))

    def encode(self, texts: list[str]) -> Array:
        """Embed plain texts, each by itself to the bit."""
        vectors = distilled(self.model, self.dimensions, float(self.sif))
        return unit(np.asarray(bags(self.model, texts, self.max_length) @ vectors))

    def tokens(self, texts: list[str]) -> Array:
        """Tokens of every text before any cut: int64 of shape (n,)."""
        return lengths(self.model, texts)
