"""Evaluate: how good is it? Batches over a data set, each distinct piece of work once."""

from evalkit.evaluate.calling.recording import Recording, cassette
from evalkit.evaluate.experiment import Experiment
from evalkit.evaluate.judging.agreement import JudgeAgreement, judge_agreement
from evalkit.evaluate.prompting import ask, prompts
from evalkit.evaluate.results import Comparisons, Results
from evalkit.evaluate.run import run
from evalkit.evaluate.timing import Timing

__all__ = [
    "Comparisons", "Experiment", "JudgeAgreement", "Recording", "Results", "Timing", "ask", "cassette",
    "judge_agreement", "prompts", "run",
]  # fmt: skip
