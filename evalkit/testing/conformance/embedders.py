"""What every embedder must hold to."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalkit.testing.corpus import tiny_dataset


def check_embedder(embedder: Any) -> None:
    """Check that an embedder gives unit vectors, in the order of the texts, and what it promises of batches.

    Where it calls itself ``row_exact``, a text's vector must be the same to the bit alone and among others.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    queries = tiny_dataset().queries
    texts = [*queries.text, "", "?", "a much longer text than the others. " * 12]
    vectors = embedder.encode(texts)
    assert vectors.dtype == np.float32, f"{embedder}: vectors are {vectors.dtype}, not float32"
    assert vectors.ndim == 2, f"{embedder}: vectors of shape {vectors.shape}, not (texts, dimensions)"
    assert len(vectors) == len(texts), f"{embedder}: {len(vectors)} vectors of {len(texts)} texts"
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert np.abs(lengths - 1).max() < 1e-5, (
        f"{embedder}: vectors of length {lengths.min()} to {lengths.max()}, not 1"
    )
    assert np.array_equal(embedder.encode(texts), vectors), f"{embedder}: the same call gives other vectors"
    nothing = embedder.encode([])
    assert nothing.shape == (0, vectors.shape[1]), f"{embedder}: no texts give shape {nothing.shape}"
    assert nothing.dtype == np.float32, f"{embedder}: no texts give {nothing.dtype}"

    alone = np.concatenate([embedder.encode([text]) for text in texts])
    nearness = (alone.astype(np.float64) * vectors).sum(axis=1)
    assert nearness.min() > 0.98, (
        f"{embedder}: text {int(nearness.argmin())} has another vector alone than in a batch"
    )
    if embedder.row_exact:
        assert np.array_equal(alone, vectors), f"{embedder}: row_exact, but a batch changes the vectors' last bits"

    asked = embedder(queries)
    assert len(asked) == len(queries), f"{embedder}: {len(asked)} vectors of {len(queries)} queries"
    counts = embedder.tokens(texts)
    assert counts.shape == (len(texts),), f"{embedder}: token counts of shape {counts.shape}"
    assert counts.dtype == np.int64, f"{embedder}: token counts are {counts.dtype}"
    assert counts[-1] > counts[-2], f"{embedder}: a long text counts no more tokens than a short one"
    over = "word " * (2 * embedder.max_length)
    assert embedder.tokens([over])[0] > embedder.max_length, (
        f"{embedder}: tokens are counted after the cut, not before"
    )
    cut, longer = embedder.encode([over, over + "zebra"])
    assert float(cut @ longer) > 0.9999, f"{embedder}: what lies behind max_length changes the vector"
