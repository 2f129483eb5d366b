"""Simulated experiments whose truth is known, to measure how often intervals cover and tests reject."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.statistics import clustered_proportion_interval, holm, mean_intervals, randomisation_p

Floats = NDArray[np.float64]
RANKS = np.array([1, 1 / 2, 1 / 3, 1 / 5, 0])  # reciprocal ranks, and how often each occurs
SHARES = np.array([0.45, 0.15, 0.1, 0.1, 0.2])

POPULATIONS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], Floats], float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "uniform": (lambda rng, shape: rng.random(shape), 0.5),
    "reciprocal rank": (lambda rng, shape: rng.choice(RANKS, shape, p=SHARES), float(RANKS @ SHARES)),
    "lognormal": (lambda rng, shape: rng.lognormal(0, 1, shape), float(np.exp(0.5))),
}
DIFFERENCES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "reciprocal rank": lambda rng, shape: rng.choice(RANKS, shape, p=SHARES) - rng.choice(RANKS, shape, p=SHARES),
    "heavy tails": lambda rng, shape: rng.standard_t(2.5, shape),
    "lognormal": lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5),
}
RESAMPLES = 2_000
_CHUNK = 5_000  # experiments at once


def coverage(method: str, population: str, n: int, experiments: int, seed: int) -> int:
    """Count the experiments of n observations whose 95 % interval holds the true mean."""
    draw, truth = POPULATIONS[population]
    rng = np.random.default_rng(seed)
    covered = 0
    for start in range(0, experiments, _CHUNK):
        values = draw(rng, (n, min(_CHUNK, experiments - start)))
        covered += sum(e.low <= truth <= e.high for e in mean_intervals(values, method=method, resamples=RESAMPLES))
    return covered


def cluster_coverage(method: str, experiments: int, seed: int) -> int:
    """Count the experiments of 30 unlike clusters of 1 to 10 whose 95 % interval holds the true mean, 0."""
    labels = np.repeat(np.arange(30), np.arange(30) % 10 + 1)
    rng = np.random.default_rng(seed)
    covered = 0
    for start in range(0, experiments, _CHUNK):
        size = min(_CHUNK, experiments - start)
        values = rng.normal(size=(30, size))[labels] + rng.normal(size=(labels.size, size))
        estimates = mean_intervals(values, clusters=labels, method=method, resamples=RESAMPLES)
        covered += sum(e.low <= 0 <= e.high for e in estimates)
    return covered


def rare_cluster_coverage(experiments: int, seed: int) -> int:
    """Count the experiments of rare events in 60 clusters of 5 whose Korn-Graubard interval holds the share."""
    labels = np.repeat(np.arange(60), 5)
    rng = np.random.default_rng(seed)
    covered = 0
    for _ in range(experiments):
        events = rng.random(300) < rng.beta(0.3, 9.7, 60)[labels]  # share 0.03, alike within a cluster
        interval = clustered_proportion_interval(events, labels)
        covered += interval.low <= 0.03 <= interval.high
    return covered


def rejections(population: str, n: int, experiments: int, seed: int) -> int:
    """Count the experiments in which randomisation rejects, at 0.05, that differences of mean zero are zero."""
    rng = np.random.default_rng(seed)
    rejected = 0
    for start in range(0, experiments, _CHUNK):
        values = DIFFERENCES[population](rng, (n, min(_CHUNK, experiments - start)))
        rejected += int((randomisation_p(values, resamples=RESAMPLES) < 0.05).sum())
    return rejected


def family_errors(variants: int, n: int, experiments: int, seed: int) -> int:
    """Count the experiments in which Holm lets any of several variants, none different, pass at 0.05."""
    rng = np.random.default_rng(seed)
    errors = 0
    for start in range(0, experiments, 1_000):
        size = min(1_000, experiments - start)
        baseline = rng.normal(size=(n, size, 1))
        differences = rng.normal(size=(n, size, variants)) - baseline
        p = randomisation_p(differences.reshape(n, -1), resamples=RESAMPLES).reshape(size, variants)
        errors += sum(bool((holm(row) < 0.05).any()) for row in p)
    return errors


def false_equivalences(n: int, experiments: int, seed: int) -> int:
    """Count the experiments with a true difference of just the margin that are called equivalent."""
    rng = np.random.default_rng(seed)
    margin, wrong = 0.6, 0
    for start in range(0, experiments, _CHUNK):
        values = rng.normal(margin, 1.0, (n, min(_CHUNK, experiments - start)))
        wrong += sum(
            -margin < e.low and e.high < margin
            for e in mean_intervals(values, level=0.9, method="expanded", resamples=RESAMPLES)
        )
    return wrong
