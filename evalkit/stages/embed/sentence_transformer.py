"""Embedding by torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.values import Chunks, Queries, Vectors


@dataclass(frozen=True)
class SentenceTransformer:
    """A sentence-transformers model run by torch on the CPU.

    Parameters
    ----------
    model : str
        A hub name that is on this machine, or a folder. Its identity is the hash of its files.
    max_length : int
        Tokens after which a text is cut off, special tokens included.
    batch_size : int
        Texts a call on the corpus side. Part of the identity, since torch's vectors differ in the last bits with
        the batch they were made in; queries are always embedded one a call.
    query_prefix, passage_prefix : str
        Put before every text, for models trained so (E5, BGE).

    References
    ----------
    Reimers and Gurevych, *Sentence-BERT*, EMNLP 2019.
    """

    model: str = models.MINILM
    max_length: int = 256
    batch_size: int = 32
    query_prefix: str = ""
    passage_prefix: str = ""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("sentence-transformers", "tokenizers", "torch", "transformers")

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.max_length < 2:
            raise InputError("SentenceTransformer: batch_size must be at least 1 and max_length at least 2")

    def identity(self) -> dict[str, Any]:
        """Say what the model is, not where it lies."""
        return {"model": models.model_digest(self.model)}

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        """Embed chunks (titles included) or queries: float32 of shape (n, d)."""
        if isinstance(texts, Chunks):
            return Vectors(self.encode([self.passage_prefix + t for t in texts.searched]))
        return Vectors(self.encode([self.query_prefix + t for t in texts.text]))

    def encode(self, texts: list[str]) -> Array:
        """Embed plain texts, in batches of `batch_size` sorted by length."""
        model = models.sentence_transformer(self.model)
        with models.torch_turn:
            limit = getattr(model[0].auto_model.config, "max_position_embeddings", self.max_length)
            if self.max_length > limit:
                raise InputError(f"SentenceTransformer: max_length is {self.max_length}; {self.model} takes {limit}")
            model.max_seq_length = self.max_length
            if not texts:
                return np.zeros((0, model.get_embedding_dimension()), dtype=np.float32)
            vectors = model.encode(
                texts,
                batch_size=self.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, dtype=np.float32)

    def tokens(self, texts: list[str]) -> Array:
        """Tokens of every text, special tokens included and before any cut: int64 of shape (n,)."""
        encoded = models.tokenizer(self.model).encode_batch_fast(texts)
        return np.array([len(e.ids) for e in encoded], dtype=np.int64)
