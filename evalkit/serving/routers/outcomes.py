"""What several models answered to the same prompts, whether that was right, and what it cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from evalkit import fingerprint
from evalkit.errors import InputError, nearest
from evalkit.types import Origin

if TYPE_CHECKING:
    from evalkit.datasets import Dataset
    from evalkit.evaluate.results import Results
    from evalkit.llm.pricing import Prices
    from evalkit.serving.results.outcomes import Replay
    from evalkit.types import Store

Floats = NDArray[np.float64]
RIGHT = 0.5
"""Quality from which an answer counts as right, where a label needs a yes or a no."""


@dataclass(frozen=True, eq=False)
class RecordedOutcomes:
    """What m models made of the same n prompts, so that a router is tried on them without a call.

    Parameters
    ----------
    name : str
    models : tuple of str
        The m models, from the one that is cheaper on average to the dearer.
    prompts : tuple of str
        The n questions.
    answers : tuple of tuple of str
        Of shape (n, m).
    quality : float64 array of shape (n, m)
        From 0, wrong, to 1, right.
    usd : float64 array of shape (n, m)
        What each answer cost.
    origin : Origin
        Of the costs: ``modelled`` where tokens were estimated.
    told : str
        Where the costs are from, for people.
    passages : tuple of tuple of str
        What the cheapest model was given beside each prompt, for checks of its answers. Empty: nothing.

    Raises
    ------
    InputError
        If shapes differ, a model is named twice, a number is out of range or not known, or models are not in order of
        cost.
    """

    name: str
    models: tuple[str, ...]
    prompts: tuple[str, ...] = field(repr=False)
    answers: tuple[tuple[str, ...], ...] = field(repr=False)
    quality: Floats = field(repr=False)
    usd: Floats = field(repr=False)
    origin: Origin = "modelled"
    told: str = ""
    passages: tuple[tuple[str, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.prompts), len(self.models))
        if min(shape) < 1 or shape[1] < 2:
            raise InputError(f"RecordedOutcomes: {shape[0]} prompts and {shape[1]} models; two models are needed")
        if twice := [model for i, model in enumerate(self.models) if model in self.models[:i]]:
            raise InputError(f"RecordedOutcomes: '{twice[0]}' is given twice; name each model once")
        if self.quality.shape != shape or self.usd.shape != shape:
            raise InputError(
                f"RecordedOutcomes: quality {self.quality.shape} and usd {self.usd.shape}; both need shape {shape}"
            )
        if len(self.answers) != shape[0] or {len(row) for row in self.answers} != {shape[1]}:
            raise InputError("RecordedOutcomes: an answer is missing; give one of every model to every prompt")
        if len(self.passages) not in (0, shape[0]):
            raise InputError("RecordedOutcomes: passages of some prompts only; give them of all, or of none")
        if not ((self.quality >= 0) & (self.quality <= 1)).all():
            raise InputError("RecordedOutcomes: a quality is not from 0 to 1; leave out what nobody judged")
        if not (np.isfinite(self.usd) & (self.usd >= 0)).all():
            raise InputError("RecordedOutcomes: a cost is not known; price every model (EVALKIT_PRICES)")
        if (np.diff(self.usd.mean(axis=0)) < 0).any():
            raise InputError("RecordedOutcomes: models are not in order of cost; name the cheaper first")

    def __len__(self) -> int:
        return len(self.prompts)

    @classmethod
    def ordered(
        cls,
        name: str,
        models: Sequence[str],
        prompts: Sequence[str],
        answers: Sequence[Sequence[str]],
        quality: Floats,
        usd: Floats,
        *,
        origin: Origin,
        told: str = "",
        passages: Mapping[str, Sequence[tuple[str, ...]]] | None = None,
    ) -> Self:
        """Return outcomes with their models put in order of cost; `passages` are by model."""
        means = usd.mean(axis=0)
        order = sorted(range(len(models)), key=lambda j: (float(means[j]), j))
        rows = tuple(tuple(row[j] for j in order) for row in answers)
        named = tuple(models[j] for j in order)
        given = tuple(passages[named[0]]) if passages else ()
        return cls(name, named, tuple(prompts), rows, quality[:, order], usd[:, order], origin, told, given)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        day: str = "",
        prices: Prices | None = None,
        shared_tokens: int = 0,
        tokens: Callable[[str, str], int] | None = None,
    ) -> Self:
        """Read RouteLLM's form of recorded responses; see `evalkit.serving.routers.reading.read`."""
        from evalkit.serving.routers.reading import read

        return read(cls, path, day=day, prices=prices, shared_tokens=shared_tokens, tokens=tokens)

    @classmethod
    def from_replays(cls, replays: Mapping[str, Replay], quality: Mapping[str, Floats] | None = None) -> Self:
        """Take replays of one traffic by two or more services; see `evalkit.serving.routers.runs.from_replays`."""
        from evalkit.serving.routers.runs import from_replays

        return from_replays(cls, replays, quality)

    @classmethod
    def from_results(
        cls,
        results: Results,
        systems: Sequence[str],
        data: Dataset,
        metric: str = "TokenF1",
        *,
        store: Store | None = None,
    ) -> Self:
        """Take an experiment's answers of two or more systems; see `evalkit.serving.routers.runs.from_results`."""
        from evalkit.serving.routers.runs import from_results

        return from_results(cls, results, systems, data, metric, store)

    def between(self, weak: str, strong: str) -> Self:
        """Return the outcomes of two of the models.

        Raises
        ------
        InputError
            If there is no such model, both are one, or `weak` is the dearer one.
        """
        for model in (weak, strong):
            if model not in self.models:
                raise InputError(f"{self.name}: no outcomes of '{model}'{nearest(model, self.models)}")
        if weak == strong:
            raise InputError(f"{self.name}: '{weak}' against itself; name two models")
        pair = [self.models.index(weak), self.models.index(strong)]
        answers = tuple(tuple(row[j] for j in pair) for row in self.answers)
        given = self.passages if pair[0] == 0 else ()
        return type(self)(
            self.name, (weak, strong), self.prompts, answers, self.quality[:, pair], self.usd[:, pair],
            self.origin, self.told, given,
        )  # fmt: skip

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether an answer counts as right: bool of shape (n, m)."""
        return np.asarray(self.quality >= RIGHT)

    @cached_property
    def oracle(self) -> NDArray[np.int64]:
        """The model that a perfect router takes, the cheapest of those that answer best: int64 of shape (n,)."""
        return np.asarray(self.quality.argmax(axis=1), dtype=np.int64)

    def parts(self, number: int, seed: int = 0, what: str = "") -> NDArray[np.int64]:
        """Divide the prompts by chance into parts of one size, whatever their order: int64 of shape (n,), from 0.

        Equal prompts are in one part.

        Parameters
        ----------
        number : int
        seed : int
        what : str
            Draws for one purpose say nothing of those for another.
        """
        drawn = {text: fingerprint.digest([seed, what, text]) for text in self.prompts}
        rank = {text: i for i, text in enumerate(sorted(drawn, key=lambda text: (drawn[text], text)))}
        return np.array([rank[text] * number // len(rank) for text in self.prompts], dtype=np.int64)
