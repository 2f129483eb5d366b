"""A vector for every token, of chunks and of queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from evalkit.columns import Array, Ragged
from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.values import Chunks, Queries, Table

STEPS = 2048
"""Steps from 0 to 1 in which components are kept.

Products of two are then whole numbers of ``STEPS ** -2``, and any sum of them along unit vectors stays below 2**24
of these, which float32 holds exactly: a dot product is the same in whatever order and batch it is added up.
"""


@dataclass(frozen=True, eq=False)
class TokenVectors(Table):
    """Unit vectors of the tokens of every text: int16 of shape (tokens, d), in units of ``1 / STEPS``.

    That is 2 d bytes a token: 768 for all-MiniLM-L6-v2, some 77 KB for a chunk of 100 tokens.
    """

    values: Ragged[Array]


@cache
def _tokenizer(model: str, max_length: int) -> Any:
    """A model's tokenizer that cuts texts off; the process's own one does not, and is not to be changed."""
    from tokenizers import Tokenizer

    cutting = Tokenizer.from_str(models.tokenizer(model).to_str())
    cutting.enable_truncation(max_length)
    return cutting


@dataclass(frozen=True)
class EmbedTokens:
    """The last hidden states of a sentence-transformers model's encoder, special tokens included, of length 1.

    One text goes to the model at a time, so that no text's vectors depend on the others.
    """

    model: str
    max_length: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("sentence-transformers", "tokenizers", "torch", "transformers")

    def identity(self) -> dict[str, Any]:
        """Say what the model is, not where it lies."""
        return {"model": models.model_digest(self.model)}

    def __call__(self, texts: Chunks | Queries) -> TokenVectors:
        """Embed the tokens of chunks (titles included) or of queries."""
        encoder = models.sentence_transformer(self.model)[0].auto_model
        limit = getattr(encoder.config, "max_position_embeddings", self.max_length)
        if self.max_length > limit:
            raise InputError(f"LateInteraction: max_length is {self.max_length}; {self.model} takes {limit}")
        rows = [self._embed(encoder, text) for text in (texts.searched if isinstance(texts, Chunks) else texts.text)]
        none = np.zeros((0, encoder.config.hidden_size), dtype=np.int16)
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return TokenVectors(Ragged(np.concatenate([none, *rows]), offsets))

    def tokens(self, texts: list[str]) -> Array:
        """Tokens of every text, special tokens included and before any cut: int64 of shape (n,)."""
        encoded = models.tokenizer(self.model).encode_batch_fast(texts)
        return np.array([len(e.ids) for e in encoded], dtype=np.int64)

    def _embed(self, encoder: Any, text: str) -> Array:
        import torch

        ids = torch.tensor([_tokenizer(self.model, self.max_length).encode(text).ids])
        with models.torch_turn, torch.inference_mode():
            states = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        vectors = torch.nn.functional.normalize(states, dim=-1).numpy()
        return np.asarray(np.rint(vectors * STEPS), dtype=np.int16)
