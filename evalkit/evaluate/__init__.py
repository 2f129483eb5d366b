"""Evaluate: how good is it? Batches over a data set, each distinct piece of work once."""

from evalkit.evaluate.experiment import Experiment
from evalkit.evaluate.prompting import prompts
from evalkit.evaluate.results import Comparisons, Results
from evalkit.evaluate.run import run
from evalkit.evaluate.timing import Timing

__all__ = ["Comparisons", "Experiment", "Results", "Timing", "prompts", "run"]
