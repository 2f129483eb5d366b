"""A provider's prompt cache: one ledger of its rules, and what placements of breakpoints cost on a trace."""

from evalkit.llm.prompt_cache.ledger import Charge, PromptCache
from evalkit.llm.prompt_cache.placement import CachePlan, Outcome, Placement, break_even, placements, plan_caching
from evalkit.llm.prompt_cache.request import CacheRequest, Segment, segments_of
from evalkit.llm.prompt_cache.trace import TracedPrompt, trace_of

__all__ = [
    "CachePlan", "CacheRequest", "Charge", "Outcome", "Placement", "PromptCache", "Segment", "TracedPrompt",
    "break_even", "placements", "plan_caching", "segments_of", "trace_of",
]  # fmt: skip
