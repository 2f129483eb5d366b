"""Semantic caches before they serve: the decisions of every threshold, what they are worth, and what is certain."""

from evalkit.serving.thresholds.ageing import Ageing, age
from evalkit.serving.thresholds.area import compare_areas, threshold_curve
from evalkit.serving.thresholds.bands import banded_table
from evalkit.serving.thresholds.certificates import Certificate, certify, required
from evalkit.serving.thresholds.confusions import confusions, worst_entries
from evalkit.serving.thresholds.equal_error import EqualError, at_equal_error, equal_error_table
from evalkit.serving.thresholds.splits import by_split
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.serving.thresholds.swept import MISS, Setting, ThresholdSweep
from evalkit.serving.thresholds.tables import table

__all__ = [
    "MISS", "Ageing", "Certificate", "EqualError", "Setting", "ThresholdSweep", "age", "at_equal_error",
    "banded_table", "by_split", "certify", "compare_areas", "confusions", "equal_error_table", "required", "table",
    "threshold_curve", "threshold_sweep", "worst_entries",
]  # fmt: skip
