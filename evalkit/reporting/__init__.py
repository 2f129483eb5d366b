"""Reporting: results as figures, and as one page that explains itself."""

from evalkit.reporting.figures import intervals, tradeoff
from evalkit.reporting.html import write_report
from evalkit.reporting.latency import stages, waterfall
from evalkit.reporting.sweeps import sweep_lines

__all__ = ["intervals", "stages", "sweep_lines", "tradeoff", "waterfall", "write_report"]
