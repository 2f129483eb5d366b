"""Replay: how does it serve? Layers around the same nodes, one request at a time, on a clock."""

from evalkit.serving.arrivals import Arrival, ClosedLoop
from evalkit.serving.clock import VirtualClock
from evalkit.serving.layers import Cache
from evalkit.serving.migration import Migration
from evalkit.serving.outcomes import Outcome, Replay
from evalkit.serving.refused import Refused
from evalkit.serving.replay import replay

__all__ = [
    "Arrival", "Cache", "ClosedLoop", "Migration", "Outcome", "Refused", "Replay", "VirtualClock", "replay",
]  # fmt: skip
