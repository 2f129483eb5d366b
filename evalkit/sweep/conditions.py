"""Conditions that the points of a sweep must meet: ``chunk.overlap < chunk.size``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.errors import nearest
from evalkit.sweep.faults import Faults
from evalkit.sweep.paths import MISSING, look_up, paths_of

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_PATTERN = re.compile(rf"\s*([A-Za-z_][\w.]*)\s*({'|'.join(_OPERATORS)})\s*([\w.+-]+)\s*")


@dataclass(frozen=True)
class Condition:
    """A comparison of one field with another, or with a number.

    It speaks of the points where both sides are numbers: the others meet it.

    Parameters
    ----------
    left : str
        Dotted path.
    sign : str
    right : str or float
        Dotted path, or number.
    """

    left: str
    sign: str
    right: str | float

    def holds(self, base: Any, point: Mapping[str, Any]) -> bool:
        """Whether the base with a point's values set meets the condition."""
        left, right = (
            look_up(base, point, side) if isinstance(side, str) else side for side in (self.left, self.right)
        )
        return not (_is_number(left) and _is_number(right)) or _OPERATORS[self.sign](left, right)

    @property
    def paths(self) -> list[str]:
        """The fields compared."""
        return [side for side in (self.left, self.right) if isinstance(side, str)]


def conditions_of(texts: Any, faults: Faults) -> dict[int, Condition]:
    """Return conditions by their place in the list; what cannot be read is noted and left out."""
    if not isinstance(texts, tuple):
        faults.add(("where",), f"a list of conditions is needed, not {texts!r}")
        return {}
    found = {}
    for i, text in enumerate(texts):
        read = _PATTERN.fullmatch(text) if isinstance(text, str) else None
        if read is None:
            faults.add(("where", i), f"{text!r} cannot be read; write it as 'chunk.overlap < chunk.size' or 'k <= 9'")
        else:
            left, sign, right = read.groups()
            found[i] = Condition(left, sign, _number(right))
    return found


def check_paths(
    conditions: Mapping[int, Condition], base: Any, points: Iterable[Mapping[str, Any]], faults: Faults
) -> None:
    """Note the fields of conditions that neither the base nor any point has."""
    wanted = {(i, path) for i, condition in conditions.items() for path in condition.paths}
    for point in ({}, *points):
        wanted = {(i, path) for i, path in wanted if look_up(base, point, path) is MISSING}
        if not wanted:
            return
    for i, path in sorted(wanted):
        faults.add(("where", i), f"no variant of the sweep has a field '{path}'{nearest(path, paths_of(base))}")


def _number(text: str) -> str | float:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
