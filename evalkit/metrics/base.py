"""What every metric is: a value with a name, a definition and an uncertainty."""

from __future__ import annotations

import re
from abc import ABC
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from evalkit.errors import InputError

__all__ = ["Definition", "Estimate", "Metric", "MetricError", "Need"]

Need = Literal["ranking", "spans", "passages", "answers", "judge", "latency", "caching", "cost"]


class MetricError(InputError, ValueError):
    """Input or a parameter from which no meaningful number follows. One line: what, where, what to do."""


@dataclass(frozen=True)
class Estimate:
    """A number and how well it is known.

    Parameters
    ----------
    value : float
        The point estimate, in the metric's unit; nan when it is undefined (nothing to divide by).
    low, high : float
        Ends of the interval; infinite where the sample is too small to bound that side.
    n : int
        Observations behind the value: the denominator of a share, the queries of a mean.
    method : str
        How the interval was made, and any warning about it.
    level : float
        Nominal coverage of the interval.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Definition:
    """What a metric measures, in the open.

    Parameters
    ----------
    formula : str
        The formula, in the notation of the paper.
    source : str
        The paper, report or specification that defines it.
    denominator : str
        What the number is a share or a mean of.
    ties, unjudged, empty, missing : str
        How equal scores, documents without judgement, queries without a result or without a relevant
        document, and queries absent from the run count. Empty where the question does not arise.
    note : str
        Where this definition differs from others in use, and why.
    """

    formula: str
    source: str
    denominator: str = ""
    ties: str = ""
    unjudged: str = ""
    empty: str = ""
    missing: str = ""
    note: str = ""

    def __str__(self) -> str:
        lines = ((field.name, getattr(self, field.name)) for field in fields(self))
        return "\n".join(f"{name + ':':13}{text}" for name, text in lines if text)


@dataclass(frozen=True)
class Metric(ABC):
    """A metric as a value: it compares, hashes and prints in a form that `parse` reads back.

    Subclasses are frozen dataclasses. A field `cutoff` is printed after ``@``; other fields are printed in
    parentheses when they differ from their defaults.

    Attributes
    ----------
    needs : Need
        Which records the metric is computed from.
    unit : str
        "" (a pure number), "ms", "s", "1/s", "$" or "tokens".
    higher_is_better : bool
        The direction of improvement.
    range : tuple[float, float]
        Smallest and largest possible value.
    definition : Definition
        Formula, source, and how the awkward cases count.
    """

    needs: ClassVar[Need]
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    definition: ClassVar[Definition]

    @property
    def name(self) -> str:
        """The canonical form, e.g. ``nDCG(gain="exp")@10``."""
        return str(self)

    @property
    def slug(self) -> str:
        """The name in lower case, digits and underscores, e.g. ``ndcg_exp_at_10``."""
        words = [re.sub(r"(?<=[a-z])(?=[A-Z][a-z0-9])", "_", type(self).__name__)]
        words += [value if isinstance(value, str) else f"{key}_{value}" for key, value in self._changed().items()]
        if (cutoff := getattr(self, "cutoff", None)) is not None:
            words.append(f"at_{cutoff}")
        return re.sub(r"[^a-z0-9]+", "_", "_".join(words).lower()).strip("_")

    def _changed(self) -> dict[str, object]:
        """Fields that differ from their defaults, the cut-off apart."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "cutoff" and getattr(self, field.name) != field.default
        }

    def __str__(self) -> str:
        arguments = ", ".join(f"{key}={_literal(value)}" for key, value in self._changed().items())
        text = type(self).__name__ + (f"({arguments})" if arguments else "")
        cutoff = getattr(self, "cutoff", None)
        return text if cutoff is None else f"{text}@{cutoff}"


def _literal(value: object) -> str:
    """Return `value` as Python source, strings in double quotes."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
