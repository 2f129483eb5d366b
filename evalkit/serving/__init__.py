"""Replay: how does it serve? Layers around the same nodes, one request at a time, on a clock."""

from evalkit.serving.arrivals import Arrival, ClosedLoop
from evalkit.serving.capacity import Capacity, highest_rate
from evalkit.serving.clock import VirtualClock
from evalkit.serving.comparing import compare
from evalkit.serving.layers import Cache
from evalkit.serving.load import HighestRate, Load
from evalkit.serving.migration import Migration
from evalkit.serving.outcomes import Outcome, Replay
from evalkit.serving.refused import Refused
from evalkit.serving.replay import replay
from evalkit.serving.replays import Replays, run_load
from evalkit.serving.stated import implied
from evalkit.serving.targets import Targets
from evalkit.serving.traffics import Closed, Poisson, Recorded

__all__ = [
    "Arrival", "Cache", "Capacity", "Closed", "ClosedLoop", "HighestRate", "Load", "Migration", "Outcome", "Poisson",
    "Recorded", "Refused", "Replay", "Replays", "Targets", "VirtualClock", "compare", "highest_rate", "implied",
    "replay", "run_load",
]  # fmt: skip
