"""Reporting: results as figures, and as one page that explains itself."""

from evalkit.reporting.ageing import ageing_figure
from evalkit.reporting.factorial import factorial_effects
from evalkit.reporting.figures import intervals, tradeoff
from evalkit.reporting.html import write_report
from evalkit.reporting.latency import stages, waterfall
from evalkit.reporting.routers import router_curves
from evalkit.reporting.serving import load_curves, traffic_timeline
from evalkit.reporting.sweeps import sweep_lines
from evalkit.reporting.switching import saving_bridge, saving_intervals
from evalkit.reporting.thresholds import threshold_curves
from evalkit.reporting.ways import request_waterfall

__all__ = [
    "ageing_figure", "factorial_effects", "intervals", "load_curves", "request_waterfall", "router_curves",
    "saving_bridge", "saving_intervals", "stages", "sweep_lines", "threshold_curves", "tradeoff", "traffic_timeline",
    "waterfall", "write_report",
]  # fmt: skip
