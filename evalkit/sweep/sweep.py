"""Sweeps: from one base variant and the values that some of its fields take, to many named variants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from evalkit.errors import InputErrors
from evalkit.forms import Reader, build
from evalkit.sweep.conditions import check_paths, conditions_of
from evalkit.sweep.draws import Random
from evalkit.sweep.faults import Faults
from evalkit.sweep.fitting import fit
from evalkit.sweep.labels import apart, label
from evalkit.sweep.parts import Part, as_lists, parts_of
from evalkit.sweep.points import Point, points_of
from evalkit.variants import Variant

Axes = Mapping[str, Any]
"""A sequence of values for every path. `Sweep` checks that they are sequences, and says all that is wrong at once."""


@dataclass(frozen=True)
class Sweep:
    """A base variant, and the variants made from it.

    Parameters
    ----------
    base : Variant
        Always run too: it is what the others are compared with.
    grid : {dotted path: values}, or a list of such
        Every combination. A path may name a whole component (``retrieve``) or one field (``retrieve.alpha``); a
        field that only some of the components have applies to those alone. Of a list, the points of all grids.
    zip : {dotted path: values}
        Values taken side by side, so all lists are of one length; combined with every point of every grid.
    random : Random or None
        Points drawn at random, beside those of the grid: the two are not combined.
    where : list of str
        Conditions that the points of grids and draws must meet, each a field compared (``<``, ``<=``, ``==``,
        ``!=``, ``>=``, ``>``) with another or with a number: ``"chunk.overlap < chunk.size"``. A condition speaks
        of the points where both sides are numbers. The base and `systems` are run whatever is asked here.
    systems : {name: Variant}
        More variants, by names of your own. One that the base or a point equals gives it its name.

    Raises
    ------
    InputErrors
        For a path that no variant has, a value that does not fit, an empty list, lists that do not pair up, a
        condition that cannot be read.
    """

    base: Variant = field(default_factory=Variant)
    grid: Sequence[Any] | Axes = field(default_factory=dict)
    zip: Axes = field(default_factory=dict)
    systems: Mapping[str, Variant] = field(default_factory=dict)
    random: Random | None = None
    where: Sequence[str] = ()

    def __post_init__(self) -> None:
        base: Any = self.base
        if not isinstance(base, Variant):
            raise InputErrors([f"a Variant is needed, not {type(base).__name__}"], [("base",)])
        faults = Faults()
        self._set("grid", as_lists(self.grid))
        self._set("zip", as_lists(self.zip))
        self._set("where", tuple(self.where) if isinstance(self.where, list) else self.where)
        reader = Reader()
        self._set("random", build(self.random, Random | None, reader))
        for what in reader.faults:
            faults.add(("random",), what.removeprefix(": "))
        parts = parts_of(self.grid, self.zip, self.random if not reader.faults else None, faults)
        fit(base, parts, faults)
        conditions = conditions_of(self.where, faults)
        check_paths(conditions, base, (part.values(row) for part in parts for row in part.rows()), faults)
        sound = not len(faults)
        made = [points_of(base, part, conditions.values(), faults) for part in parts]
        if sound and not len(faults):
            _check_used(parts, made, faults)
        self._check_systems(faults)
        faults.check()
        self._keep(parts)
        self._set("_points", tuple(point for points in made for point in points))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _keep(self, parts: Sequence[Part]) -> None:
        """Hold the values as they fit, so that a sweep written as text equals one made of objects."""
        values = {axis.place: tuple(axis.values) for part in parts for axis in part.axes.values() if axis.listed}

        def kept(axes: Any, *place: str | int) -> Any:
            return {path: values.get((*place, path), given) for path, given in axes.items()}

        grids = self.grid if isinstance(self.grid, Mapping) else [kept(g, "grid", i) for i, g in enumerate(self.grid)]
        if isinstance(grids, Mapping):
            self._set("grid", kept(grids, "grid"))
        else:
            self._set("grid", grids[0] if len(grids) == 1 else tuple(grids))
        self._set("zip", kept(self.zip, "zip"))
        if self.random is not None:
            self._set("random", replace(self.random, of=kept(self.random.of, "random", "of")))

    def _check_systems(self, faults: Faults) -> None:
        systems: Any = self.systems
        if not isinstance(systems, Mapping):
            faults.add(("systems",), f"a mapping from names to variants is needed, not {type(systems).__name__}")
            return
        first: dict[str, str] = {}
        for name, variant in systems.items():
            if not isinstance(name, str) or not name.strip():
                faults.add(("systems", name), "a name is a text that is not empty")
            elif not isinstance(variant, Variant):
                faults.add(("systems", name), f"a Variant is needed, not {type(variant).__name__}")
            elif (other := first.setdefault(variant.fingerprint, name)) != name:
                faults.add(("systems", name), f"is the same system as '{other}'; leave one out")
            elif name == "base" and variant.fingerprint != self.base.fingerprint:
                faults.add(("systems", name), "is what the sweep's base is called; choose another name")

    def variants(self) -> dict[str, Variant]:
        """Return all variants by label, the base among them; equal ones are one.

        A label names what was set (``retrieve.k=5``); a base that no point equals is ``base``. Points of the grid
        come in its order, then those drawn, then `systems`.
        """
        return dict(self._labelled)

    @property
    def base_label(self) -> str:
        """The label of the base variant."""
        return next(n for n, v in self._labelled.items() if v.fingerprint == self.base.fingerprint)

    @cached_property
    def _labelled(self) -> dict[str, Variant]:
        named = {variant.fingerprint: name for name, variant in self.systems.items()}
        points: Sequence[Point] = vars(self)["_points"]
        found: dict[str, Variant] = {}
        distinct = {point.variant.fingerprint: point for point in reversed(points)}
        shared = Counter(label(point.values) for point in distinct.values())
        seen: set[str] = set()
        for point in points:
            identity = point.variant.fingerprint
            if identity not in seen:
                seen.add(identity)
                short = label(point.values)
                name = short if shared[short] == 1 else label(point.values, nested=True)
                found[named.get(identity) or apart(name, (found, self.systems))] = point.variant
        if self.base.fingerprint not in seen:
            found = {named.get(self.base.fingerprint, "base"): self.base, **found}
        return found | {name: variant for name, variant in self.systems.items() if name not in found}


def _check_used(parts: Sequence[Part], made: Sequence[Sequence[Point]], faults: Faults) -> None:
    pairs = list(zip(parts, made, strict=True))
    used = {id(part.axes[path]) for part, points in pairs for point in points for path in point.values}
    for axis in [axis for part in parts for axis in part.axes.values() if id(axis) not in used]:
        faults.add(axis.place, "no variant that the sweep makes has this field")
