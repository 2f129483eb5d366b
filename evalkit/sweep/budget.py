"""What a sweep may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from evalkit.errors import InputErrors


@dataclass(frozen=True)
class SweepBudget:
    """What a sweep may cost; the first limit that is reached ends it.

    Parameters
    ----------
    variants : int or None
        At most so many variants, the base among them, in the order of the sweep.
    minutes : float or None
        Wall time.
    dollars : float or None
        US dollars for the calls that the run makes; what earlier runs have paid for costs nothing again. No call is
        begun that could pass this limit.

    Raises
    ------
    InputErrors
        For a limit that is not above 0, or none at all.
    """

    variants: int | None = None
    minutes: float | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        limits = {item.name: getattr(self, item.name) for item in fields(self)}
        if all(limit is None for limit in limits.values()):
            raise InputErrors([f"SweepBudget: sets no limit; give at least one of {', '.join(limits)}"])
        wrong = [name for name, limit in limits.items() if limit is not None and not self._fits(name, limit)]
        if wrong:
            needed = {"variants": "a whole number of at least 1"}
            lines = [f"SweepBudget: is {limits[n]!r}; give {needed.get(n, 'a finite number above 0')}" for n in wrong]
            raise InputErrors(lines, [(name,) for name in wrong])

    @staticmethod
    def _fits(name: str, limit: Any) -> bool:
        kinds = int if name == "variants" else (int, float)
        return isinstance(limit, kinds) and not isinstance(limit, bool) and math.isfinite(limit) and limit > 0
