"""Sweeps: the space of variants to run, written down."""

from evalkit.sweep.budget import SweepBudget
from evalkit.sweep.draws import Integers, LogUniform, Random, Uniform
from evalkit.sweep.paths import get_path, has_path, parameters, paths_of
from evalkit.sweep.sweep import Sweep

__all__ = [
    "Integers",
    "LogUniform",
    "Random",
    "Sweep",
    "SweepBudget",
    "Uniform",
    "get_path",
    "has_path",
    "parameters",
    "paths_of",
]  # fmt: skip
