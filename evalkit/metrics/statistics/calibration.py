"""What the methods were measured to do: coverage of intervals, size of tests.

Each figure is the share among 100,000 simulated experiments (20,000 for Korn and Graubard), with 2,000 resamples;
its standard error is below 0.001. The tests simulate 20,000 others and reject a figure when the 99.9 % interval of
what they measure excludes it.

Populations: "normal"; "uniform" on [0, 1]; "reciprocal rank", 1, 1/2, 1/3, 1/5 or 0 with probability 0.45, 0.15,
0.1, 0.1 and 0.2; "lognormal" with sigma 1, whose tail is that of latencies. Differences: "normal"; of two
independent reciprocal ranks; "heavy tails", Student's t with 2.5 degrees of freedom; "lognormal" less its mean,
which is not symmetric, so that it breaks the hypothesis of the randomisation test.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "CLUSTER_COVERAGE",
    "COVERAGE",
    "FALSE_EQUIVALENCE",
    "FAMILY_ERROR",
    "SIZE",
    "TWO_WAY",
    "Measured",
    "TwoWay",
]


class Measured(NamedTuple):
    """A measured share.

    Parameters
    ----------
    method : str
        Of the interval, or "randomisation".
    population : str
        Of values, or of differences.
    n : int
        Observations in each experiment.
    share : float
        Experiments whose 95 % interval holds the true mean; or in which the test rejects at 0.05.
    """

    method: str
    population: str
    n: int
    share: float


class TwoWay(NamedTuple):
    """A measured share of experiments with rare events in 500 entries and in conversations.

    Parameters
    ----------
    population : str
        See `TWO_WAY`.
    events : float
        The true share of events.
    alike : bool
        As for `two_way_proportion_interval`.
    share : float
        Experiments whose upper bound, one-sided at 95 %, is not below the true share.
    """

    population: str
    events: float
    alike: bool
    share: float


COVERAGE = (
    Measured("expanded", "normal", 10, 0.947),
    Measured("expanded", "normal", 30, 0.949),
    Measured("expanded", "normal", 100, 0.95),
    Measured("expanded", "uniform", 10, 0.954),
    Measured("expanded", "uniform", 30, 0.953),
    Measured("expanded", "uniform", 100, 0.951),
    Measured("expanded", "reciprocal rank", 10, 0.956),
    Measured("expanded", "reciprocal rank", 30, 0.955),
    Measured("expanded", "reciprocal rank", 100, 0.952),
    Measured("expanded", "lognormal", 10, 0.854),
    Measured("expanded", "lognormal", 30, 0.893),
    Measured("expanded", "lognormal", 100, 0.923),
    Measured("percentile", "normal", 10, 0.902),
    Measured("percentile", "normal", 30, 0.936),
    Measured("percentile", "normal", 100, 0.946),
    Measured("percentile", "uniform", 10, 0.913),
    Measured("percentile", "uniform", 30, 0.941),
    Measured("percentile", "uniform", 100, 0.948),
    Measured("percentile", "reciprocal rank", 10, 0.916),
    Measured("percentile", "reciprocal rank", 30, 0.942),
    Measured("percentile", "reciprocal rank", 100, 0.948),
    Measured("percentile", "lognormal", 10, 0.804),
    Measured("percentile", "lognormal", 30, 0.877),
    Measured("percentile", "lognormal", 100, 0.918),
    Measured("bca", "normal", 10, 0.899),
    Measured("bca", "normal", 30, 0.935),
    Measured("bca", "normal", 100, 0.946),
    Measured("bca", "uniform", 10, 0.933),
    Measured("bca", "uniform", 30, 0.949),
    Measured("bca", "uniform", 100, 0.95),
    Measured("bca", "reciprocal rank", 10, 0.945),
    Measured("bca", "reciprocal rank", 30, 0.954),
    Measured("bca", "reciprocal rank", 100, 0.952),
    Measured("bca", "lognormal", 10, 0.826),
    Measured("bca", "lognormal", 30, 0.891),
    Measured("bca", "lognormal", 100, 0.923),
    Measured("bootstrap-t", "normal", 10, 0.95),
    Measured("bootstrap-t", "normal", 30, 0.949),
    Measured("bootstrap-t", "normal", 100, 0.95),
    Measured("bootstrap-t", "uniform", 10, 0.974),
    Measured("bootstrap-t", "uniform", 30, 0.964),
    Measured("bootstrap-t", "uniform", 100, 0.954),
    Measured("bootstrap-t", "reciprocal rank", 10, 0.996),
    Measured("bootstrap-t", "reciprocal rank", 30, 0.972),
    Measured("bootstrap-t", "reciprocal rank", 100, 0.956),
    Measured("bootstrap-t", "lognormal", 10, 0.908),
    Measured("bootstrap-t", "lognormal", 30, 0.925),
    Measured("bootstrap-t", "lognormal", 100, 0.938),
    Measured("t", "normal", 10, 0.951),
    Measured("t", "normal", 30, 0.95),
    Measured("t", "normal", 100, 0.95),
    Measured("t", "uniform", 10, 0.947),
    Measured("t", "uniform", 30, 0.95),
    Measured("t", "uniform", 100, 0.95),
    Measured("t", "reciprocal rank", 10, 0.946),
    Measured("t", "reciprocal rank", 30, 0.95),
    Measured("t", "reciprocal rank", 100, 0.95),
    Measured("t", "lognormal", 10, 0.84),
    Measured("t", "lognormal", 30, 0.882),
    Measured("t", "lognormal", 100, 0.918),
)
"""Coverage of the 95 % interval of a mean."""

CLUSTER_COVERAGE = (
    Measured("expanded", "clusters", 30, 0.944),
    Measured("t", "clusters", 30, 0.943),
    Measured("percentile", "clusters", 30, 0.931),
    Measured("bca", "clusters", 30, 0.924),
    Measured("bootstrap-t", "clusters", 30, 0.946),
    Measured("Korn-Graubard", "rare events in clusters", 60, 0.955),
)
"""Coverage with n clusters: 30 unlike ones of 1 to 10 values, half the variance between them; or 60 of 5 events
with probability 0.03, drawn anew for each cluster (Beta(0.3, 9.7))."""

SIZE = (
    Measured("randomisation", "normal", 8, 0.046),
    Measured("randomisation", "normal", 30, 0.05),
    Measured("randomisation", "normal", 100, 0.05),
    Measured("randomisation", "reciprocal rank", 8, 0.02),
    Measured("randomisation", "reciprocal rank", 30, 0.048),
    Measured("randomisation", "reciprocal rank", 100, 0.05),
    Measured("randomisation", "heavy tails", 8, 0.046),
    Measured("randomisation", "heavy tails", 30, 0.049),
    Measured("randomisation", "heavy tails", 100, 0.049),
    Measured("randomisation", "lognormal", 8, 0.153),
    Measured("randomisation", "lognormal", 30, 0.12),
    Measured("randomisation", "lognormal", 100, 0.085),
)
"""Share of true null hypotheses that Fisher's randomisation rejects at 0.05."""

FAMILY_ERROR = Measured("randomisation, Holm", "five normal variants against one baseline", 30, 0.043)
"""Share of experiments in which any of five equal variants passes at 0.05 after Holm's correction."""

FALSE_EQUIVALENCE = Measured("two one-sided tests", "normal", 30, 0.051)
"""Share of experiments called equivalent though the difference is just the margin, 0.6 standard deviations."""

TWO_WAY = (
    TwoWay("independent", 0.002, False, 1),
    TwoWay("independent", 0.002, True, 1),
    TwoWay("independent", 0.01, False, 0.969),
    TwoWay("independent", 0.01, True, 0.992),
    TwoWay("independent", 0.02, False, 0.966),
    TwoWay("independent", 0.02, True, 0.989),
    TwoWay("alike", 0.002, False, 1),
    TwoWay("alike", 0.002, True, 1),
    TwoWay("alike", 0.01, False, 0.885),
    TwoWay("alike", 0.01, True, 0.974),
    TwoWay("alike", 0.02, False, 0.875),
    TwoWay("alike", 0.02, True, 0.977),
    TwoWay("half wrong", 0.002, False, 1),
    TwoWay("half wrong", 0.002, True, 1),
    TwoWay("half wrong", 0.01, False, 0.834),
    TwoWay("half wrong", 0.01, True, 0.969),
    TwoWay("half wrong", 0.02, False, 0.8),
    TwoWay("half wrong", 0.02, True, 0.971),
    TwoWay("all or none", 0.002, False, 1),
    TwoWay("all or none", 0.002, True, 1),
    TwoWay("all or none", 0.01, False, 0.851),
    TwoWay("all or none", 0.01, True, 0.983),
    TwoWay("all or none", 0.02, False, 0.669),
    TwoWay("all or none", 0.02, True, 0.975),
    TwoWay("popular worse", 0.002, False, 1),
    TwoWay("popular worse", 0.002, True, 1),
    TwoWay("popular worse", 0.01, False, 0.592),
    TwoWay("popular worse", 0.01, True, 0.749),
    TwoWay("popular worse", 0.02, False, 0.562),
    TwoWay("popular worse", 0.02, True, 0.591),
)
"""Coverage of the one-sided bounds of `two_way_proportion_interval`, in 5,000 experiments each.

2,500 trials go to 500 entries by Zipf's law, so that the largest has one in seven, and to conversations of 1 to 7.
Events are "independent"; "alike" within entries and within conversations, correlated by 0.1; "half wrong", half of
the trials of entries and conversations that are bad; "all or none" of an entry's; "popular worse": as "half wrong",
in entries only, whose probability to be bad grows with the root of their popularity. In the last no bound holds: what
is wrong is mostly wrong in entries so large that there are few of them.
"""
