"""What a certificate looks at: every design's setting on dev, then each once on test, and kinds of requests apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.metrics.statistics import holm
from evalkit.serving.semantic.decisions import Verified
from evalkit.serving.thresholds.bounding import Bounded, Clusters, Counted, Of, needed
from evalkit.serving.thresholds.swept import Setting, ThresholdSweep

if TYPE_CHECKING:
    import pandas as pd


class Asked(NamedTuple):
    """What is to be certified: see `evalkit.serving.thresholds.certificates.certify`."""

    budget: float
    level: float
    of: Of
    clusters: Clusters

    def counted(self, sweep: ThresholdSweep, setting: int, where: Array) -> Counted:
        """Count what a setting gave to some requests."""
        return Counted(sweep, setting, where, of=self.of, clusters=self.clusters)


@dataclass(frozen=True)
class Design:
    """One way of building the cache, at the setting that dev chose.

    Parameters
    ----------
    label : str
        The sweep's label, where there are several, and the setting's.
    sweep : str
        Label of the sweep, such as an embedder's; empty where there is one only.
    setting : Setting
    position : int
        Of the setting in its sweep.
    dev : Bounded
    test : Bounded or None
        Its bounds are those that Holm's correction allows. None: nothing was within the budget on dev, so test was
        not looked at; the setting is then the one with the least bound on dev.
    p : float
        Holm's adjusted p-value of "more than the budget is wrong"; 1 where test was not looked at.
    certified : bool
    """

    label: str
    sweep: str
    setting: Setting
    position: int
    dev: Bounded
    test: Bounded | None
    p: float
    certified: bool

    @property
    def learns(self) -> bool:
        """Whether it is no threshold, but learns of every entry."""
        return isinstance(self.setting.rule, Verified)


class Candidate(NamedTuple):
    """The setting of a design that dev chose, and whether dev found it within the budget."""

    sweep: str
    position: int
    dev: Bounded
    within: bool


def on_dev(label: str, sweep: ThresholdSweep, dev: Array, asked: Asked) -> list[Candidate]:
    """Choose a setting of every design of a sweep; `asked.level` is that of the bound on dev."""
    designs: dict[tuple[object, ...], list[Candidate]] = {}
    for position, one in enumerate(sweep.settings):
        found = asked.counted(sweep, position, dev).bounded(asked.level)
        candidate = Candidate(label, position, found, bool(found.right) and found.high <= asked.budget)
        designs.setdefault((type(one.rule), one.guard, one.ttl), []).append(candidate)
    return [min(candidates, key=_preferred) for candidates in designs.values()]


def _preferred(one: Candidate) -> tuple[float, ...]:
    """Most right hits within the budget; where nothing is, the least bound of what gives right answers."""
    if one.within:
        return (0, -one.dev.right, one.dev.wrong, one.position)
    return (1, not one.dev.right, one.dev.high, one.position)


def on_test(
    sweeps: Mapping[str, ThresholdSweep], candidates: list[Candidate], test: Array, asked: Asked
) -> list[Design]:
    """Look once at each design that dev let pass; return all, the best first."""
    looked = [one for one in candidates if one.within]
    counted = [asked.counted(sweeps[one.sweep], one.position, test) for one in looked]
    p = np.array([c.p(asked.budget) if c.bounded(asked.level).right else 1.0 for c in counted])
    error = 1 - asked.level
    tests = {
        one: (c.bounded(1 - error / step), float(adjusted))
        for one, c, adjusted, step in zip(looked, counted, holm(p), _steps(p, error), strict=True)
    }
    designs = []
    for one in candidates:
        own, (found, adjusted) = sweeps[one.sweep], tests.get(one, (None, 1.0))
        label = f"{one.sweep}, {own.label(one.position)}" if one.sweep else own.label(one.position)
        held = found is not None and adjusted <= error
        designs.append(
            Design(label, one.sweep, own.settings[one.position], one.position, one.dev, found, adjusted, held)
        )
    return sorted(designs, key=_rank)


def _rank(design: Design) -> tuple[float, ...]:
    """Certified ones by right hits on dev; then those that were looked at on test, and the others, by their bound."""
    if design.certified:
        return (0, -design.dev.right, design.dev.wrong)
    return (1, design.test.high) if design.test is not None else (2, design.dev.high)


def _steps(p: Array, error: float) -> list[int]:
    """Return by what Holm divides the error for each: for all from the first that fails on, by what that one had."""
    steps, failed = [0] * len(p), 0
    for rank, at in enumerate(np.argsort(p, kind="stable").tolist()):
        divisor = failed if failed else len(p) - rank
        failed = failed if failed else (divisor if p[at] * divisor > error else 0)
        steps[at] = divisor
    return steps


def by_kind(
    sweep: ThresholdSweep,
    setting: int,
    where: Array,
    asked: Asked,
) -> pd.DataFrame:
    """Return what a setting did with every kind of request, and what that says of a budget.

    Each kind is judged for itself: bounds are not corrected for the number of kinds. (In a certificate they are for
    the number of designs, one of which was picked.)

    Returns
    -------
    DataFrame
        A row a kind, after ``all`` and before several kinds of trap ``trap``, all of these: ``kind``; ``requests``,
        ``hit_rate``, ``right``, ``wrong``, ``unjudged``; ``share`` that is wrong, its bounds ``low`` and ``high``;
        ``verdict``: "holds", "broken", "too few to tell"; ``needed``: about how many such requests would show that
        the kind is within the budget, if none got a wrong answer.
    """
    import pandas as pd

    kinds = sweep.kinds()
    traps = [kind for kind in kinds if kind.startswith("trap:")]
    named = ["all", *(k for k in kinds if k not in traps), *(["trap"] if len(traps) > 1 else []), *traps]
    rows = []
    for kind in dict.fromkeys(named):
        mask = where if kind == "all" else where & sweep.of_kind(kind)
        if mask.any():
            found = asked.counted(sweep, setting, mask).bounded(asked.level)
            end = {"verdict": found.verdict(asked.budget), "needed": needed(found, asked.budget, asked.of)}
            rows.append({"kind": kind, **told(found), **end})
    return pd.DataFrame(rows)


def told(found: Bounded) -> dict[str, float]:
    """Return counts, share and bounds as columns of a table."""
    return {
        "requests": found.requests, "hit_rate": found.hit_rate, "right": found.right, "wrong": found.wrong,
        "unjudged": found.unjudged, "share": found.value, "low": found.low, "high": found.high,
    }  # fmt: skip
