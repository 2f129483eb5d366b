"""A certification as a value: traffic, the settings of a semantic cache, and an error budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from evalkit.errors import InputError, InputErrors
from evalkit.forms import plain_fields
from evalkit.serving.layers.semantic import Guard, SemanticCache
from evalkit.serving.load.load import Load
from evalkit.serving.load.traffics import Recorded
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.bounding import Clusters, Of
from evalkit.serving.thresholds.halves import BySplit, Halves
from evalkit.types import Embedder, FittedEmbedder
from evalkit.variants import Variant

_MOST = 10_000


@dataclass(frozen=True)
class Steps:
    """Thresholds at equal distances: 0.7, 0.71 and so on up to 1.

    Parameters
    ----------
    between : (float, float)
        The lowest and the highest, as cosines. The highest is one of them where whole steps reach it.
    step : float
        Cosines are rounded to 12 places, so that steps of 0.1 reach 1.
    """

    between: tuple[float, ...] = (0.7, 1.0)
    step: float = 0.01

    def __post_init__(self) -> None:
        if not (len(self.between) == 2 and -1 <= self.between[0] < self.between[1] <= 1):
            raise InputError("Steps: between is two cosines that rise, from -1 to 1")
        if not (0 < self.step < math.inf and (self.between[1] - self.between[0]) / self.step < _MOST):
            raise InputError(f"Steps: step is {self.step:g}; it is above 0, for less than {_MOST:,} thresholds")

    @property
    def values(self) -> tuple[float, ...]:
        """All of them, rising."""
        low, high = self.between
        count = math.floor((high - low) / self.step + 1e-9)
        return tuple(min(high, round(low + i * self.step, 12)) for i in range(count + 1))


@dataclass(frozen=True)
class Certification:
    """Which settings of a semantic cache are tried on which traffic, and what is to be certain of its errors.

    Parameters
    ----------
    name : str
        Names the folder of the results and the MLflow experiment.
    dataset : str
        Folder of the data set, from the project root. Its traffic says by intents which answers are wrong.
    thresholds : Steps or tuple of float
        Cosines.
    rules : tuple of Threshold or Verified
        More rules, such as verified ones, or thresholds in other measures.
    ttls : tuple of float or None
        Seconds for which an answer may be given; None: for ever. Empty: the cache's.
    guards : tuple of {"corpus", "context", "none"}
        Empty: the cache's.
    embedders : {label: Embedder}
        Each is swept. Empty: the cache's own.
    cache : SemanticCache
        What all settings have in common. Decisions are those of an exact index, with nothing evicted.
    variant : Variant or None
        Whose calls the cache saves. May be left out where `calls` states their seconds, and nothing asks for an
        embedder of retrieval or for the documents of a prompt.
    calls : float or None
        Seconds from when the cache is asked to when the model's answer can be found in it. None: those of a replay
        of the traffic without the cache on the virtual clock, which also says what each call costs.
    cost : str, mapping or None
        For that replay, as for `replay`. None: work takes the time it really takes, so results differ a little from
        run to run.
    cores : int
        Of that replay's machine.
    traffic : Recorded
    events : bool
        Let the data set's documents come and go as recorded. Else all are there.
    budget : float
        The share of wrong answers that is not to be exceeded.
    of : {"answers", "hits"}
        Whether it is a share of all answers served, the model's included, or of the cache's alone.
    level : float
        Confidence, one-sided.
    clusters : {"entry", "intent"}
        What is wrong together: see `evalkit.serving.thresholds.certificates.certify`.
    dev_level : float or None
        Confidence on dev. None: `level`.
    split : BySplit, ByTime or ByHash
        What is tuned on, and what is judged on.
    description : str
    seed : int
        Of the replay and of resampling.
    without_data : {"fail", "skip"}
        What to do where the data set's folder is missing.

    Raises
    ------
    InputErrors
        For every field that is wrong, and fields that do not go together.
    """

    name: str
    dataset: str
    thresholds: Steps | tuple[float, ...] = field(default_factory=Steps)
    rules: tuple[Threshold | Verified, ...] = ()
    ttls: tuple[float | None, ...] = ()
    guards: tuple[Guard, ...] = ()
    embedders: Mapping[str, Embedder | FittedEmbedder] = field(default_factory=dict)
    cache: SemanticCache = field(default_factory=SemanticCache)
    variant: Variant | None = None
    calls: float | None = None
    cost: str | Mapping[str, float] | None = None
    cores: int = 1
    traffic: Recorded = field(default_factory=Recorded)
    events: bool = False
    budget: float = 0.01
    of: Of = "answers"
    level: float = 0.95
    clusters: Clusters = "entry"
    dev_level: float | None = None
    split: Halves = field(default_factory=BySplit)
    description: str = ""
    seed: int = 0
    without_data: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        found = self.faults({item.name: getattr(self, item.name) for item in fields(self)})
        if found:
            raise InputErrors([what for _, what in found], [(key,) for key, _ in found])

    @property
    def every_rule(self) -> tuple[float | Threshold | Verified, ...]:
        """Thresholds, then the other rules."""
        plain = self.thresholds.values if isinstance(self.thresholds, Steps) else tuple(self.thresholds)
        return (*plain, *self.rules)

    @property
    def caches(self) -> Mapping[str, SemanticCache]:
        """The cache with each embedder, by its label; the cache alone has the empty one."""
        if not self.embedders:
            return {"": self.cache}
        return {label: replace(self.cache, embedder=embedder) for label, embedder in self.embedders.items()}

    @staticmethod
    def faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what is wrong with some of a certification's fields, as (field, what)."""
        shared = ("name", "cost", "cores", "seed")
        found = Load.faults({key: values[key] for key in shared if key in values})
        found += _wrong_settings(values)
        get = values.get
        if not 0 < (budget := get("budget", 0.5)) < 1:
            found.append(("budget", f"is {budget:g}; it is a share of wrong answers, such as 0.01"))
        for key in ("level", "dev_level"):
            if (level := get(key)) is not None and not 0.5 < level < 1:
                found.append((key, f"is {level:g}; it is above 0.5 and below 1"))
        for key, kind in (("of", Of), ("clusters", Clusters)):
            if key in values and values[key] not in get_args(kind):
                found.append((key, f"is {values[key]!r}; it is one of {', '.join(map(repr, get_args(kind)))}"))
        calls = get("calls")
        if calls is not None and not 0 <= calls < math.inf:
            found.append(("calls", f"is {calls:g}; it is seconds from 0"))
        if calls is not None and get("cost") is not None:
            found.append(("cost", "is for a replay of the calls, and calls states their seconds; leave one out"))
        if "variant" in values and values["variant"] is None and "calls" in values and calls is None:
            found.append(("variant", "is needed, as its calls are replayed; give it, or their seconds as calls"))
        return found

    def plain(self) -> dict[str, Any]:
        """Return the certification as plain data, as YAML and the manifest hold it."""
        return plain_fields(self)


def _wrong_settings(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what is wrong with the cache, and with what is swept of it."""
    found, cache = [], values.get("cache", SemanticCache())
    if cache.at != "answer":
        found.append(("cache", "is at 'retrieve'; certify one at 'answer', where hits can be wrong"))
    if cache.index != "exact":
        found.append(("cache", f"index is '{cache.index}', which may miss entries; what is certified is exact"))
    if cache.rule != SemanticCache().rule:
        found.append(("cache", "its rule is what is swept; name it among thresholds or rules"))
    if values.get("ttls") and cache.ttl != SemanticCache().ttl:
        found.append(("ttls", "are swept, and the cache has a ttl of its own; leave one out"))
    if values.get("guards") and cache.guard != SemanticCache().guard:
        found.append(("guards", "are swept, and the cache has a guard of its own; leave one out"))
    if values.get("embedders") and cache.embedder is not None:
        found.append(("embedders", "are swept, and the cache has an embedder of its own; leave one out"))
    if odd := [label for label in values.get("embedders", ()) if not (label and label.isprintable())]:
        found.append(("embedders", f"the name {odd[0]!r} cannot be printed; name it otherwise"))
    thresholds = values.get("thresholds", ())
    if not isinstance(thresholds, Steps):
        found += [("thresholds", f"{at:g} is no cosine from -1 to 1") for at in thresholds if not -1 <= at <= 1]
        if "thresholds" in values and "rules" in values and not (len(thresholds) or len(values["rules"])):
            found.append(("thresholds", "are empty, and there are no rules; name at least one"))
    for key, one in (("ttls", "ttl"), ("guards", "guard")):
        for value in values.get(key, ()):
            try:
                replace(SemanticCache(), **{one: value})
            except InputError as error:
                found.append((key, str(error).removeprefix("SemanticCache: ")))
    return found
