"""Systems by name, ready to run or to sweep from."""

from __future__ import annotations

from evalkit.stages import BM25, Dense, Hybrid, Recursive
from evalkit.variants import Variant

__all__ = ["baseline", "hybrid", "keywords"]


def baseline() -> Variant:
    """Chunks of at most 128 tokens, all-MiniLM-L6-v2, exact search, five chunks, an extractive answer from them."""
    return Variant(chunk=Recursive(size=128), retrieve=Dense(k=5))


def keywords() -> Variant:
    """The baseline with BM25 in place of embeddings."""
    return Variant(chunk=Recursive(size=128), retrieve=BM25(k=5))


def hybrid(alpha: float = 0.7) -> Variant:
    """The baseline with both, fused by reciprocal rank."""
    return Variant(chunk=Recursive(size=128), retrieve=Hybrid(alpha=alpha, k=5))
