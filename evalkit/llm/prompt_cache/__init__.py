"""A provider's prompt cache: one ledger of its rules, and what placements of breakpoints cost on a trace."""

from evalkit.llm.prompt_cache.ledger import Charge, PromptCache
from evalkit.llm.prompt_cache.placement import CachePlan, Outcome, Placement, break_even, placements, plan_caching
from evalkit.llm.prompt_cache.request import CacheRequest, Segment, segments_of
from evalkit.llm.prompt_cache.switching import (
    Loss,
    Switching,
    SwitchingPlan,
    escalating,
    plan_switching,
    price_switching,
    sticky,
)
from evalkit.llm.prompt_cache.trace import TracedPrompt, trace_of

__all__ = [
    "CachePlan", "CacheRequest", "Charge", "Loss", "Outcome", "Placement", "PromptCache", "Segment", "Switching",
    "SwitchingPlan", "TracedPrompt", "break_even", "escalating", "placements", "plan_caching", "plan_switching",
    "price_switching", "segments_of", "sticky", "trace_of",
]  # fmt: skip
