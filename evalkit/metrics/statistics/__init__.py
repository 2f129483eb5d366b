"""Intervals, paired comparisons, corrections and the stability of rankings.

Every random draw comes from a seed, and resampled sums are exact (see `resampling`): the same input gives
the same numbers in every process. `statistics.calibration` lists what each method was measured to do.
"""

from evalkit.metrics.statistics.agreement import Agreement, kappa
from evalkit.metrics.statistics.comparison import compare, paired
from evalkit.metrics.statistics.intervals import mean_interval, mean_intervals, quantile_interval
from evalkit.metrics.statistics.mixes import unpaired
from evalkit.metrics.statistics.proportions import (
    McNemar,
    clustered_proportion_interval,
    mcnemar,
    proportion_interval,
)
from evalkit.metrics.statistics.repeats import filled_mean, repeat_noise, repeated_mean
from evalkit.metrics.statistics.resampling import bootstrap_means, randomisation_p
from evalkit.metrics.statistics.stability import Stability, pareto_front, pareto_stability, rank_stability
from evalkit.metrics.statistics.verdicts import Comparison, Verdict, holm

__all__ = [
    "Agreement",
    "Comparison",
    "McNemar",
    "Stability",
    "Verdict",
    "bootstrap_means",
    "clustered_proportion_interval",
    "compare",
    "filled_mean",
    "holm",
    "kappa",
    "mcnemar",
    "mean_interval",
    "mean_intervals",
    "paired",
    "pareto_front",
    "pareto_stability",
    "proportion_interval",
    "quantile_interval",
    "randomisation_p",
    "rank_stability",
    "repeat_noise",
    "repeated_mean",
    "unpaired",
]
