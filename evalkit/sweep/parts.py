"""What a sweep consists of: parts, each with its axes and the rows of values that are taken together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.sweep.draws import Random, draw
from evalkit.sweep.faults import Faults, Place

MISFIT: Any = object()
"""Stands for a value whose fault was noted."""

Row = Mapping[str, int]
"""Of each path, which of its values."""


@dataclass(eq=False)
class Axis:
    """The values of one path.

    Parameters
    ----------
    place : tuple
        Where the path stands in the spec.
    values : list
    listed : bool
        Whether the values stand in the spec one by one, so that a fault can name which.
    """

    place: Place
    values: list[Any]
    listed: bool = True

    def place_of(self, i: int) -> Place:
        """Return where a value stands in the spec, as nearly as it can be said."""
        return (*self.place, i) if self.listed else self.place


@dataclass(eq=False)
class Part:
    """Some of a sweep's points: those of one grid, or those drawn at random.

    Parameters
    ----------
    place : tuple
        Where the part stands in the spec.
    axes : {path: Axis}
    drawn : sequence of {path: place in the axis}, optional
        The points; default every combination of the axes that are not zipped with every row of those that are.
    zipped : frozenset of path
    """

    place: Place
    axes: dict[str, Axis]
    drawn: Sequence[Row] | None = None
    zipped: frozenset[str] = field(default_factory=frozenset)

    def rows(self) -> Iterator[Row]:
        """Yield every point."""
        if self.drawn is not None:
            for row in self.drawn:
                yield {path: row[path] for path in self.axes}
            return
        grid = [path for path in self.axes if path not in self.zipped]
        together = [path for path in self.axes if path in self.zipped]
        rows = [dict.fromkeys(together, i) for i in range(min(map(self._length, together), default=1))]
        for places in itertools.product(*(range(self._length(path)) for path in grid)):
            for row in rows:
                yield dict(zip(grid, places, strict=True)) | row

    def _length(self, path: str) -> int:
        return len(self.axes[path].values)

    def values(self, row: Row) -> dict[str, Any]:
        """Return a point's values by path."""
        return {path: self.axes[path].values[i] for path, i in row.items()}


def parts_of(grid: Any, zipped: Any, random: Random | None, faults: Faults) -> list[Part]:
    """Return the parts of a sweep; what is not of the right shape is noted and left out."""
    together = _axes(zipped, ("zip",), faults)
    if len({len(axis.values) for axis in together.values()}) > 1:
        lengths = ", ".join(f"{path} {len(axis.values)}" for path, axis in together.items())
        faults.add(("zip",), f"lists of different lengths ({lengths})")
    grids = [(("grid",), grid)] if not _is_list(grid) else [(("grid", i), one) for i, one in enumerate(grid)]
    found = []
    for place, one in grids:
        axes = _axes(one, place, faults)
        for path in [path for path in together if path in axes]:
            faults.add(("zip", path), "is in the grid too; give its values in one place")
            del axes[path]
        if _is_list(grid) and isinstance(one, Mapping) and not one:
            faults.add(place, "is empty; give a path and its values, or leave it out")
        if axes or together:
            found.append(Part(place if axes else ("zip",), axes | together, zipped=frozenset(together)))
    if _is_list(grid) and not grid:
        faults.add(("grid",), "is empty; give a path and its values, or leave it out")
    if random is not None:
        found.append(_drawn(random))
    return found


def as_lists(axes: Any) -> Any:
    """Take arrays, of NumPy say, as the lists that they are."""
    if _is_list(axes):
        return tuple(as_lists(item) for item in axes)
    if not isinstance(axes, Mapping):
        return axes
    return {path: values.tolist() if hasattr(values, "tolist") else values for path, values in axes.items()}


def _axes(axes: Any, place: Place, faults: Faults) -> dict[str, Axis]:
    if not isinstance(axes, Mapping):
        faults.add(place, f"a mapping from paths to lists is needed, not {type(axes).__name__}")
        return {}
    sound = {}
    for path, values in axes.items():
        if not _is_list(values):
            faults.add((*place, path), f"a list of values is needed, not {values!r}")
        elif not values:
            faults.add((*place, path), "has no values; list at least one")
        else:
            sound[str(path)] = Axis((*place, path), list(values))
    return sound


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _drawn(random: Random) -> Part:
    """Draw all samples; equal values are kept once."""
    axes: dict[str, Axis] = {}
    columns: dict[str, list[int]] = {}
    for path, source in random.of.items():
        taken = [draw(random, path, sample) for sample in range(random.samples)]
        if _is_list(source):
            axes[path], columns[path] = Axis(("random", "of", path), list(source)), taken
        else:
            places = {value: i for i, value in enumerate(dict.fromkeys(taken))}
            axes[path] = Axis(("random", "of", path), list(places), listed=False)
            columns[path] = [places[value] for value in taken]
    rows = [dict(zip(columns, places, strict=True)) for places in zip(*columns.values(), strict=True)]
    return Part(("random",), axes, rows)
