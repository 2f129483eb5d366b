"""Systems by name, ready to run or to sweep from: the baseline, and the systems that the founding documents describe.

Each named system is the baseline with one part changed, as its document states it, so that a sweep over presets shows
what that part is worth on your data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from evalkit.stages import (
    BM25,
    MMR,
    ONNX,
    AdaptiveAlpha,
    Budget,
    Characters,
    Dense,
    Filtered,
    History,
    Hybrid,
    KeySentences,
    LateInteraction,
    MultiQuery,
    Parents,
    Recursive,
    RedundancyFilter,
    SideBySide,
    SummariesFirst,
    TopK,
)
from evalkit.variants import Variant

__all__ = [
    "adaptive_hybrid", "baseline", "compressed", "fewer_chunks", "hybrid", "keywords", "not_deleted", "onnx",
    "reranked", "short_context", "side_by_side", "small_to_large", "summaries_first", "token_budget",
    "trimmed_history",
]  # fmt: skip


def baseline() -> Variant:
    """Chunks of at most 128 tokens, all-MiniLM-L6-v2, exact search, five chunks, an extractive answer from them."""
    return Variant(chunk=Recursive(size=128), retrieve=Dense(k=5))


def keywords() -> Variant:
    """The baseline with BM25 in place of embeddings."""
    return replace(baseline(), retrieve=BM25(k=5))


def hybrid(alpha: float = 0.7) -> Variant:
    """The baseline with both, fused by reciprocal rank."""
    return replace(baseline(), retrieve=Hybrid(alpha=alpha, k=5))


def onnx(precision: Literal["fp32", "int8"] = "int8") -> Variant:
    """Local ONNX embeddings in place of torch (roadmap: 100 to 10 ms a query, quality down by 5 to 10 %)."""
    return replace(baseline(), retrieve=Dense(ONNX(precision=precision), k=5))


def adaptive_hybrid() -> Variant:
    """Hybrid search as the roadmap writes it: weights by the form of the question, each side twice as deep."""
    fused = Hybrid(dense=Dense(k=10), sparse=BM25(k=10), alpha=AdaptiveAlpha(), k=5)
    return replace(baseline(), retrieve=fused)


def side_by_side() -> Variant:
    """Dense, keyword and multi-query retrieval at the same time, fused by reciprocal rank (plan)."""
    strategies = (Dense(k=20), BM25(k=20), MultiQuery(k=20))
    return replace(baseline(), retrieve=SideBySide(strategies, k=5))


def reranked() -> Variant:
    """Hybrid search with a reranker behind it (course); here late interaction over the embedding model's tokens."""
    return replace(baseline(), retrieve=Hybrid(k=20), rerank=LateInteraction(k=5, depth=20))


def summaries_first() -> Variant:
    """Documents found by their summaries, then only their chunks (course)."""
    return replace(baseline(), retrieve=SummariesFirst(k=5))


def small_to_large() -> Variant:
    """Chunks of 32 tokens are searched, the chunks of 128 around them returned."""
    return replace(baseline(), retrieve=Parents(small=Recursive(size=32), k=5))


def not_deleted() -> Variant:
    """Documents marked as deleted are not searched (roadmap, course)."""
    return replace(baseline(), retrieve=Filtered(Dense(k=5), k=5))


def fewer_chunks(k: int = 4) -> Variant:
    """Ten chunks retrieved, `k` of them in the prompt (course: 10 to 4 or 5; agent: 5 to 3)."""
    return replace(baseline(), retrieve=Dense(k=10), assemble=TopK(k))


def short_context() -> Variant:
    """At most 4,000 characters of whole chunks (course)."""
    return replace(baseline(), retrieve=Dense(k=10), assemble=Budget(4000, Characters()))


def token_budget(limit: int = 512) -> Variant:
    """Chunks chosen by relevance and diversity within a limit, the last one cut if over 100 tokens remain (plan)."""
    budget = Budget(limit, select=MMR(balance=0.7, k=None, depth=None), overflow="truncate", min_remaining=100)
    return replace(baseline(), retrieve=Dense(k=20), assemble=budget)


def compressed() -> Variant:
    """Chunks that repeat one another dropped above 0.9, then at most five key sentences (plan)."""
    return replace(
        baseline(), retrieve=Dense(k=10), rerank=RedundancyFilter(threshold=0.9), assemble=KeySentences(sentences=5)
    )


def trimmed_history(turns: int = 3) -> Variant:
    """The last turns of a conversation; older ones summarised to 200 tokens, above 1,000 only (plan, agent)."""
    return replace(baseline(), assemble=History(turns=turns, above=1000, summary=200))
