"""What work takes in virtual time, as an evaluation measured it: request by request, the same in every run."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.types import Origin
from evalkit.variants import Variant

if TYPE_CHECKING:
    from evalkit.evaluate.results import Results
    from evalkit.evaluate.timing import Samples

asked: ContextVar[str] = ContextVar("asked", default="")
"""The question that work is being done for: what it takes is drawn for this question."""


@dataclass(frozen=True)
class StatedCost:
    """Seconds by stage, whatever work took here.

    Parameters
    ----------
    seconds : {stage: float}
        A stage that is not named is free: it takes no time and waits for no core.
    """

    seconds: Mapping[str, float]

    def __call__(self, stage: str, took: float) -> float:
        """Return the seconds of one piece of work."""
        return float(self.seconds.get(stage, 0.0))

    def free(self, stage: str) -> bool:
        """Whether work of a stage takes no time."""
        return not self.seconds.get(stage)


@dataclass(frozen=True, eq=False)
class RecordedCost:
    """Seconds that work takes by what it took when it was measured: a cost for `replay`.

    A question that was measured takes what it took; of several samples, and for a question that was not measured,
    one is drawn by the question's text and the seed. All stages of a request come from one sample, so that stages
    that are slow together stay so, and their sum is a request that was really seen. A stage that was not measured
    is free.

    Parameters
    ----------
    samples : sequence of {stage: seconds}
        One a measured request.
    questions : {text: sequence of int}
        Which samples are of which question.
    operations : {stage: count}
        How many operations of a request are booked under one stage: each takes an equal part of its time.
    seed : int
    """

    samples: Sequence[Mapping[str, float]] = field(repr=False)
    questions: Mapping[str, Sequence[int]] = field(default_factory=dict, repr=False)
    operations: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0

    origin: ClassVar[Origin] = "replayed"

    def __post_init__(self) -> None:
        if not self.samples:
            raise InputError("RecordedCost: no samples; measure latency first (run with timing)")
        object.__setattr__(self, "_drawn", {})

    def __call__(self, stage: str, took: float) -> float:
        """Return the seconds of one operation for the question that is being answered."""
        text = asked.get()
        drawn: dict[str, Mapping[str, float]] = self.__dict__["_drawn"]
        sample = drawn.get(text)
        if sample is None:
            sample = drawn[text] = self.sample(text)
        return sample.get(stage, 0.0) / self.operations.get(stage, 1)

    def free(self, stage: str) -> bool:
        """Whether work of a stage takes no time: it was not measured."""
        return not any(stage in sample for sample in self.samples)

    def sample(self, text: str) -> Mapping[str, float]:
        """Return the sample that a question takes its times from."""
        rows = self.questions.get(text) or range(len(self.samples))
        name = hashlib.blake2b(f"{self.seed} {text}".encode(), digest_size=8).digest()
        return self.samples[rows[int.from_bytes(name, "big") % len(rows)]]

    @classmethod
    def of(
        cls, results: Results, system: Variant | str | None = None, data: Dataset | None = None, *, seed: int = 0
    ) -> RecordedCost:
        """Take the times from an evaluation's results: of each query the mean of its repeats.

        Parameters
        ----------
        results : Results
            Of this session, with timing.
        system : Variant or label, optional
            Default: the base.
        data : Dataset, optional
            Which query asks what. Without it times are drawn for every question.
        seed : int

        Raises
        ------
        InputError
            If the system is not in the results or was not timed.
        """
        label = results.label(system)
        rows = results.per_query[results.per_query["variant"] == label]
        taken: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for query, metric, value in zip(rows["query"], rows["metric"], rows["value"], strict=True):
            if metric.startswith("ms[") and metric.endswith("]"):
                taken[query][metric[3:-1]] = float(value) / 1e3
        variant = results.variants.get(label) or (system if isinstance(system, Variant) else None)
        return cls._made(list(taken.items()), variant, data, seed)

    @classmethod
    def of_samples(
        cls, samples: Samples, variant: Variant, data: Dataset | None = None, *, seed: int = 0
    ) -> RecordedCost:
        """Take the times of single requests (see `evalkit.evaluate.timing.measure`)."""
        rows = zip(samples.query, samples.stages, samples.spent, strict=True)
        taken = [
            (query, dict(zip(stages, (int(ns) / 1e9 for ns in spent), strict=True))) for query, stages, spent in rows
        ]
        return cls._made(taken, variant, data, seed)

    @classmethod
    def _made(
        cls,
        taken: Sequence[tuple[str, Mapping[str, float]]],
        variant: Variant | None,
        data: Dataset | None,
        seed: int,
    ) -> RecordedCost:
        texts = dict(zip(data.queries.id, data.queries.text, strict=True)) if data is not None else {}
        questions: defaultdict[str, list[int]] = defaultdict(list)
        for i, (query, _) in enumerate(taken):
            if query in texts:
                questions[texts[query]].append(i)
        return cls([sample for _, sample in taken], dict(questions), operations_of(variant), seed)


def operations_of(variant: Variant | None) -> Mapping[str, int]:
    """Return how many operations a request's answer takes, by stage."""
    nodes: Iterable[str] = (
        (node.stage for node in variant.nodes()["answer"].walk() if node.per_query and node.op != "query")
        if variant is not None
        else ()
    )
    return dict(Counter(nodes))
