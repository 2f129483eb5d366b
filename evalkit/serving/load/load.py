"""A replay as a value: a data set, services and traffic. Its YAML form lives in ``experiments/``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from evalkit.errors import InputError, InputErrors, nearest
from evalkit.forms import plain_fields
from evalkit.llm.latency.profiles import profiles
from evalkit.serving.load.capacity import check_search
from evalkit.serving.load.traffics import Closed, Poisson, Recorded
from evalkit.serving.results.targets import Targets
from evalkit.variants import Service, Variant


@dataclass(frozen=True)
class HighestRate:
    """How the highest rate that meets the targets is searched for; fields as for `highest_rate`.

    Parameters
    ----------
    arrivals : {"poisson", "recorded"}
    requests : int
        Of one replay, out of the load's traffic.
    seeds : tuple of int
    between : (float, float)
    tolerance, settle : float
    """

    arrivals: Literal["poisson", "recorded"] = "poisson"
    requests: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    between: tuple[float, ...] = (0.01, 1000.0)
    tolerance: float = 0.02
    settle: float = 0.1

    def __post_init__(self) -> None:
        if len(self.between) != 2:
            raise InputError(f"HighestRate: between is a lowest and a highest rate, not {len(self.between)} numbers")
        check_search(self.requests, self.seeds, self.between, self.tolerance, self.settle)


@dataclass(frozen=True)
class Load:
    """What traffic is sent through which services, and what is to hold.

    Parameters
    ----------
    name : str
        Names the folder of the results and the MLflow experiment.
    dataset : str
        Folder of the data set, from the project root.
    services : {label: Service or Variant}
        Each meets the same traffic.
    traffic : Recorded, Poisson or Closed
    targets : Targets or None
        What every service is held to.
    level : {"target", "acceptable", "maximum"}
        Which of three limits must hold, where a target has three: missing it fails the run.
    rate : HighestRate or None
        Also search for the highest rate at which each service meets the targets.
    description : str
    split : str or None
        Use only this split's requests.
    clock : {"virtual", "wall"}
    cores : int
    cost : str, mapping or None
        As for `replay`: a latency profile's name, or seconds by stage.
    events : bool
        Let the data set's documents come and go as recorded; with `Recorded` traffic only. Else all are there.
    warm : int
        So many requests of the recorded traffic before `Recorded.between`, the last ones, are asked before the rest.
    patience : float or None
        Seconds after which users leave.
    seed : int
    without_data : {"fail", "skip"}
        What to do where the data set's folder is missing.

    Raises
    ------
    InputErrors
        For every field that is wrong, and fields that do not go together.
    """

    name: str
    dataset: str
    services: Mapping[str, Service | Variant]
    traffic: Recorded | Poisson | Closed = field(default_factory=Recorded)
    targets: Targets | None = None
    level: Literal["target", "acceptable", "maximum"] = "maximum"
    rate: HighestRate | None = None
    description: str = ""
    split: str | None = None
    clock: Literal["virtual", "wall"] = "virtual"
    cores: int = 1
    cost: str | Mapping[str, float] | None = None
    events: bool = False
    warm: int = 0
    patience: float | None = None
    seed: int = 0
    without_data: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        found = self.faults({item.name: getattr(self, item.name) for item in fields(self)})
        if found:
            raise InputErrors([what for _, what in found], [(key,) for key, _ in found])

    @staticmethod
    def faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what is wrong with some of a load's fields, as (field, what)."""
        found = []
        get = values.get
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name := get("name", "x")):
            found.append(("name", f"'{name}' must be letters, digits, '.', '_' and '-'"))
        if "services" in values and not values["services"]:
            found.append(("services", "is empty; name at least one"))
        if odd := [label for label in get("services", ()) if not label.isprintable()]:
            found.append(("services", f"the name {odd[0]!r} cannot be printed; name it otherwise"))
        if get("cores", 1) < 1:
            found.append(("cores", f"is {values['cores']}; it must be at least 1"))
        if isinstance(cost := get("cost"), str) and cost not in profiles():
            found.append(("cost", f"no latency profile '{cost}'{nearest(cost, profiles())}"))
        if cost is not None and get("clock") == "wall":
            found.append(("cost", "real time takes what it takes; leave it out with clock: wall"))
        if isinstance(cost, Mapping) and not all(0 <= seconds < math.inf for seconds in cost.values()):
            found.append(("cost", "seconds are numbers from 0"))
        recorded = isinstance(get("traffic", Recorded()), Recorded)
        if get("events") and not recorded:
            found.append(("events", "documents come at recorded times; give traffic: Recorded, or leave it out"))
        if get("warm", 0) < 0 or (get("warm", 0) and not (recorded and getattr(get("traffic"), "between", None))):
            found.append(("warm", "is a number of requests before Recorded.between; give that, or leave it out"))
        if (patience := get("patience")) is not None and not patience > 0:
            found.append(("patience", f"is {patience:g}; it must be above 0"))
        if get("rate") is not None:
            found += [("rate", what) for what in _cannot_search(values)]
        if get("seed", 0) < 0:
            found.append(("seed", f"is {values['seed']}; it must be at least 0"))
        return found

    def plain(self) -> dict[str, Any]:
        """Return the load as plain data, as YAML and the manifest hold it."""
        return plain_fields(self)


def _cannot_search(values: Mapping[str, Any]) -> list[str]:
    """Say why the highest rate cannot be searched for."""
    targets, found = values.get("targets"), []
    if "targets" in values and (targets is None or not targets.limits):
        found.append("is searched for under targets; give some")
    elif targets is not None and targets.rate is not None:
        found.append("is what is searched for; leave rate out of the targets")
    if values.get("clock") == "wall":
        found.append("is searched for on the virtual clock; leave it out with clock: wall")
    if isinstance(values.get("traffic"), Closed):
        found.append("is a result where users wait for answers; give traffic that comes when it comes")
    return found
