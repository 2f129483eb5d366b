"""evalkit: research and evaluation harness for the performance of retrieval-augmented generation.

>>> import evalkit as ek
>>> data = ek.load_dataset("datasets/handbook")
>>> results = ek.run(ek.Sweep(ek.presets.baseline(), grid={"retrieve.k": [1, 3, 5, 10]}), data)
>>> results.compare()
"""

from evalkit import llm, metrics, presets, reporting, serving, stages, tuning
from evalkit._version import __version__
from evalkit.datasets import Dataset, Day, Traffic, generate_traffic, load_dataset
from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate import Experiment, Results, Timing, ask, cassette, judge_agreement, prompts, run
from evalkit.metrics.racing import Race
from evalkit.serving import Certification, Load, highest_rate, replay, run_certification, run_load
from evalkit.spec import load_certification, load_experiment, load_replay
from evalkit.stages.retrieve.custom import retriever
from evalkit.sweep import Integers, LogUniform, Random, Sweep, SweepBudget, Uniform
from evalkit.tracking import track, track_certificates, track_replays
from evalkit.tuning import fine_tune, fit_alpha
from evalkit.variants import Service, Variant

__all__ = [
    "Certification", "Dataset", "Day", "EvalkitError", "Experiment", "InputError", "Integers", "Load",
    "LogUniform", "Race", "Random", "Results", "Service", "Sweep", "SweepBudget", "Timing", "Traffic", "Uniform",
    "Variant", "__version__", "ask", "cassette", "fine_tune", "fit_alpha", "generate_traffic", "highest_rate",
    "judge_agreement", "llm", "load_certification", "load_dataset", "load_experiment", "load_replay", "metrics",
    "presets", "prompts", "replay", "reporting", "retriever", "run", "run_certification", "run_load", "serving",
    "stages", "track", "track_certificates", "track_replays", "tuning",
]  # fmt: skip
