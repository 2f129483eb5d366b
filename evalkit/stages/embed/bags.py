"""Texts as bags of tokens, whose vectors are summed: what static embedders share."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.stages import models


def bags(tokenizer: str, texts: list[str], limit: int) -> Any:
    """Return the tokens of every text as a sparse matrix of ones.

    Parameters
    ----------
    tokenizer : str
        Name or folder of a model with a ``tokenizer.json``.
    texts : list of str
    limit : int
        Tokens after which a text is cut off; no special tokens are added.

    Returns
    -------
    scipy.sparse.csr_array, float32 of shape (texts, vocabulary)
        A token that occurs twice is two entries of its row, in the order of the text.
    """
    from scipy.sparse import csr_array

    loaded = models.tokenizer(tokenizer)
    encoded = loaded.encode_batch_fast(texts, add_special_tokens=False)
    rows = [np.array(e.ids[:limit], dtype=np.int32) for e in encoded]
    ends = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=ends[1:])
    tokens = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32)
    shape = len(rows), loaded.get_vocab_size()
    return csr_array((np.ones(len(tokens), dtype=np.float32), tokens, ends), shape=shape)


def lengths(tokenizer: str, texts: list[str]) -> Array:
    """Tokens of every text, before any cut and without special ones: int64 of shape (n,)."""
    encoded = models.tokenizer(tokenizer).encode_batch_fast(texts, add_special_tokens=False)
    return np.array([len(e.ids) for e in encoded], dtype=np.int64)


def unit(sums: Array) -> Array:
    """Bring every row to length 1 as float32; a row of zeros, a text of no known token, becomes the first axis."""
    wide = sums.astype(np.float64)
    norms = np.sqrt(np.square(wide).sum(axis=1))
    wide[norms == 0, :1] = 1
    return np.asarray(wide / np.where(norms == 0, 1, norms)[:, None], dtype=np.float32)
