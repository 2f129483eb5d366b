"""Serving layers, one file each. Everything in ``__all__`` can be named in a spec."""

from evalkit.serving.layers.cache import Cache
from evalkit.serving.layers.cascade import Cascade
from evalkit.serving.layers.circuit_breaker import CircuitBreaker
from evalkit.serving.layers.coalesce import Coalesce
from evalkit.serving.layers.concurrency import Concurrency
from evalkit.serving.layers.fallback import Fallback
from evalkit.serving.layers.fault_injection import FaultInjection
from evalkit.serving.layers.history import ConversationHistory
from evalkit.serving.layers.micro_batch import MicroBatch
from evalkit.serving.layers.prefetch import Prefetch
from evalkit.serving.layers.rate_limit import RateLimit
from evalkit.serving.layers.request_log import RequestLog
from evalkit.serving.layers.retry import Retry
from evalkit.serving.layers.router import Router
from evalkit.serving.layers.semantic import SemanticCache
from evalkit.serving.layers.time_limit import TimeLimit
from evalkit.serving.layers.validation import Validation

__all__ = [
    "Cache", "Cascade", "CircuitBreaker", "Coalesce", "Concurrency", "ConversationHistory", "Fallback",
    "FaultInjection", "MicroBatch", "Prefetch", "RateLimit", "RequestLog",
    "Retry", "Router", "SemanticCache", "TimeLimit", "Validation",
]  # fmt: skip
