"""An experiment as a value: a data set, a sweep and what to measure. Its YAML form lives in ``experiments/``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from evalkit.errors import InputErrors
from evalkit.evaluate.timing import Timing
from evalkit.forms import plain_fields
from evalkit.metrics import Metric, parse
from evalkit.metrics.racing import Race
from evalkit.sweep import Sweep, SweepBudget
from evalkit.types import Generator

DEFAULT_METRICS = ("MRR@10", "nDCG@10", "Recall@10")


def _default_metrics() -> tuple[Metric, ...]:
    return tuple(parse(name) for name in DEFAULT_METRICS)


@dataclass(frozen=True)
class Experiment:
    """What is run on what, and what is measured.

    Parameters
    ----------
    name : str
        Names the folder of the results and the MLflow experiment.
    dataset : str
        Folder of the data set, from the project root.
    sweep : Sweep
    metrics : tuple of Metric
    description : str
        For people: what question this answers.
    split : str or None
        Use only this split's queries.
    timing : Timing or None
        Whether and how latency is measured.
    seed : int
        Of blocks, samples, intervals and tests.
    without_data : {"fail", "skip"}
        What to do where the data set's folder is missing.
    race : Race or None
        Stop variants early that cannot be the best any more; the base always runs to the end.
    budget : SweepBudget or None
        What the run may cost; what is not done by then is told.
    judge : Generator or None
        Who judges what `Faithfulness` and its like ask.

    Raises
    ------
    InputErrors
        For a name that cannot be a folder, no metric or one given twice, a negative seed, a race by a metric that is
        not measured.
    """

    name: str
    dataset: str
    sweep: Sweep = field(default_factory=Sweep)
    metrics: tuple[Metric, ...] = field(default_factory=_default_metrics)
    description: str = ""
    split: str | None = None
    timing: Timing | None = None
    seed: int = 0
    without_data: Literal["fail", "skip"] = "fail"
    race: Race | None = None
    budget: SweepBudget | None = None
    judge: Generator | None = None

    def __post_init__(self) -> None:
        found = self.faults({item.name: getattr(self, item.name) for item in fields(self)})
        if found:
            raise InputErrors([what for _, what in found], [(key,) for key, _ in found])

    @staticmethod
    def faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what is wrong with some of an experiment's fields, each by itself, as (field, what)."""
        name, metrics, seed = values.get("name", "x"), values.get("metrics"), values.get("seed", 0)
        found = []
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            found.append(("name", f"'{name}' must be letters, digits, '.', '_' and '-'"))
        if metrics is not None and not metrics:
            found.append(("metrics", "is empty; name at least one"))
        counts = Counter(metrics or ())
        found += [("metrics", f"{metric} is given twice") for metric, count in counts.items() if count > 1]
        race = values.get("race")
        if race is not None and metrics is not None and race.metric not in metrics:
            found.append(("race", f"{race.metric} is not among the metrics; add it there"))
        if race is not None and race.metric.needs == "judge":
            found.append(("race", f"{race.metric} is judged when all systems are done; race by another metric"))
        if getattr(values.get("judge"), "batched", False):
            found.append(("judge", "asks one question after another, which batches cannot answer; leave batched out"))
        if seed < 0:
            found.append(("seed", f"is {seed}; it must be at least 0"))
        return found

    def plain(self) -> dict[str, Any]:
        """Return the experiment as plain data, as YAML and the manifest hold it."""
        return plain_fields(self, texts=(Metric,))
