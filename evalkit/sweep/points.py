"""The variants that the points of a sweep are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from evalkit.errors import InputError
from evalkit.sweep.conditions import Condition
from evalkit.sweep.faults import Faults
from evalkit.sweep.labels import label
from evalkit.sweep.parts import MISFIT, Part, Row
from evalkit.sweep.paths import held, set_paths
from evalkit.variants import Variant


@dataclass(frozen=True)
class Point:
    """A variant, and the values that were set in it: not those of fields that it does not have."""

    variant: Variant
    values: Mapping[str, Any]


class _Maker:
    """Makes the variants of one part. A component that several points share is made once."""

    def __init__(self, base: Variant, part: Part) -> None:
        self._base, self._part = base, part
        self._made: dict[tuple[tuple[str, int], ...], tuple[Any, list[str]]] = {}

    def __call__(self, row: Row) -> Point:
        """Return a point's variant.

        Raises
        ------
        InputError
            If a component refuses its fields.
        """
        below: dict[str, list[str]] = {}
        for path in row:
            below.setdefault(path.partition(".")[0], []).append(path)
        news: dict[str, Any] = {}
        used: set[str] = set()
        for name, paths in below.items():
            news[name], set_here = self._component(name, tuple((path, row[path]) for path in paths))
            used.update(set_here)
        values = {path: value for path, value in self._part.values(row).items() if path in used}
        return Point(replace(self._base, **news), values)

    def _component(self, name: str, chosen: tuple[tuple[str, int], ...]) -> tuple[Any, list[str]]:
        if chosen not in self._made:
            values = {path: self._part.axes[path].values[i] for path, i in chosen}
            own = {path.removeprefix(f"{name}."): value for path, value in values.items() if path != name}
            there = held(Variant, name, values[name]) if name in values else getattr(self._base, name)
            made, used = set_paths(there, own)
            self._made[chosen] = made, [f"{name}.{path}" for path in used] + [name] * (name in values)
        return self._made[chosen]


def points_of(base: Variant, part: Part, conditions: Iterable[Condition], faults: Faults) -> list[Point]:
    """Make every variant of a part that the conditions let stand, since values may not fit one another."""
    conditions, make = list(conditions), _Maker(base, part)
    found: list[Point] = []
    failed: dict[str, Row] = {}
    worked: set[tuple[str, int]] = set()
    left_out = 0
    for row in part.rows():
        values = part.values(row)
        if any(value is MISFIT for value in values.values()):
            continue
        if not all(condition.holds(base, values) for condition in conditions):
            left_out += 1
            continue
        try:
            found.append(make(row))
            worked.update((path, row[path]) for path in found[-1].values)
        except InputError as error:
            failed.setdefault(str(error), row)
    if left_out and not found and not failed:
        faults.add(part.place, "has no point that meets all conditions of 'where'")
    _tell(part, make, failed, worked, faults)
    return found


def _tell(part: Part, make: _Maker, failed: Mapping[str, Row], worked: set[tuple[str, int]], faults: Faults) -> None:
    """Note why points could not be made, each at the value that is to blame; of draws, one fault a path."""
    told: set[str] = set()
    for what, row in failed.items():
        alone = [path for path in row if _fails_alone(make, path, row[path], what)]
        culprits = alone or [path for path, i in row.items() if part.drawn is None and (path, i) not in worked]
        if len(culprits) == 1:
            axis = part.axes[culprits[0]]
            if axis.listed or culprits[0] not in told:
                faults.add(axis.place_of(row[culprits[0]]), what)
                told.add(culprits[0])
        elif part.drawn is None or not told:
            hint = "" if part.drawn is None else "; leave such points out with 'where'"
            faults.add(part.place, f"{label(part.values(row))}: {what}{hint}")
            told.add("")


def _fails_alone(make: _Maker, path: str, i: int, what: str) -> bool:
    try:
        make({path: i})
    except InputError as error:
        return str(error) == what
    return False
