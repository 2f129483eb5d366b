"""Replay: how does it serve? Layers around the same nodes, one request at a time, on a clock."""

from evalkit.serving.arrivals import Arrival, ClosedLoop, arrivals_of, with_histories
from evalkit.serving.cacheability import cacheability
from evalkit.serving.clock import VirtualClock
from evalkit.serving.costs import RecordedCost
from evalkit.serving.keeping.invalidation import Invalidation
from evalkit.serving.layers import Cache
from evalkit.serving.load.capacity import Capacity, highest_rate
from evalkit.serving.load.load import HighestRate, Load
from evalkit.serving.load.replays import Replays, run_load
from evalkit.serving.load.traffics import Closed, Poisson, Recorded
from evalkit.serving.migration import Migration
from evalkit.serving.refused import Refused
from evalkit.serving.replay import replay
from evalkit.serving.results.comparing import compare
from evalkit.serving.results.factorial import Factorial, factorial
from evalkit.serving.results.outcomes import Outcome, Replay
from evalkit.serving.results.stated import implied
from evalkit.serving.results.targets import Targets
from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.serving.routers.route_curves import RouteCurves, route_curves
from evalkit.serving.routers.scores import AnswerChecks, AnswerWrong, GivenScores, StrongNeeded, WordTiers
from evalkit.serving.thresholds.certification import Certification, Steps
from evalkit.serving.thresholds.halves import ByHash, BySplit, ByTime
from evalkit.serving.thresholds.results import Certified
from evalkit.serving.thresholds.run import run_certification
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.serving.thresholds.swept import Setting, ThresholdSweep

__all__ = [
    "AnswerChecks", "AnswerWrong", "Arrival", "ByHash", "BySplit", "ByTime", "Cache", "Capacity", "Certification",
    "Certified", "Closed", "ClosedLoop", "Factorial", "GivenScores", "HighestRate", "Invalidation", "Load",
    "Migration", "Outcome", "Poisson", "Recorded", "RecordedCost", "RecordedOutcomes", "Refused", "Replay",
    "Replays", "RouteCurves", "Setting", "Steps", "StrongNeeded", "Targets", "ThresholdSweep", "VirtualClock",
    "WordTiers", "arrivals_of", "cacheability", "compare", "factorial", "highest_rate", "implied", "replay",
    "route_curves", "run_certification", "run_load", "threshold_sweep", "with_histories",
]  # fmt: skip
