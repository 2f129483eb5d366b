"""Replay: how does it serve? Layers around the same nodes, one request at a time, on a clock."""

from evalkit.serving.clock import VirtualClock
from evalkit.serving.layers import Cache
from evalkit.serving.migration import Migration
from evalkit.serving.replay import Arrival, Replay, replay

__all__ = ["Arrival", "Cache", "Migration", "Replay", "VirtualClock", "replay"]
