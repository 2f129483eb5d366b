"""Values of axes as the fields hold them, so that `BM25` may be written as text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from evalkit.errors import InputErrors, nearest
from evalkit.sweep.faults import Faults
from evalkit.sweep.parts import MISFIT, Axis, Part
from evalkit.sweep.paths import MISSING, has_path, held, look_up, paths_of
from evalkit.variants import Variant


def fit(base: Variant, parts: Sequence[Part], faults: Faults) -> None:
    """Replace the axes' values by what their fields hold; listed values that fit none become `MISFIT`.

    An axis that no variant has, or whose draws do not fit, leaves its parts: the others can still be tried.
    """
    axes = {id(axis): (path, axis) for part in parts for path, axis in part.axes.items()}
    for path, axis in sorted(axes.values(), key=lambda pair: pair[0].count(".")):
        kinds = _owners(base, path, axis, parts)
        if not kinds:
            faults.add(axis.place, f"no variant of the sweep has a field '{path}'{nearest(path, paths_of(base))}")
        if not kinds or not _fit_axis(kinds, path.rpartition(".")[2], axis, faults):
            for part in parts:
                if part.axes.get(path) is axis:
                    del part.axes[path]


def _fit_axis(kinds: Sequence[type], name: str, axis: Axis, faults: Faults) -> bool:
    for i, value in enumerate(axis.values):
        try:
            axis.values[i] = _fitted(kinds, name, value)
        except InputErrors as error:
            axis.values[i] = MISFIT
            for what in error.faults:
                faults.add(axis.place_of(i), what)
            if not axis.listed:
                return False
    return True


def _owners(base: Variant, path: str, axis: Axis, parts: Sequence[Part]) -> list[type]:
    """Return the classes of component that the field may be set on: the base's, and those that axes put there."""
    owner, _, name = path.rpartition(".")
    found: dict[type, None] = {}
    for part in parts:
        if part.axes.get(path) is axis:
            above = [p for p in part.axes if owner == p or owner.startswith(f"{p}.")]
            choices = [[MISSING, *(v for v in part.axes[p].values if v is not MISFIT)] for p in above]
            for values in itertools.product(*choices):
                point = {p: v for p, v in zip(above, values, strict=True) if v is not MISSING}
                there: Any = look_up(base, point, owner) if owner else base
                if has_path(there, name):
                    found[type(there)] = None
    return list(found)


def _fitted(kinds: Sequence[type], name: str, value: Any) -> Any:
    """Return a value as the first class that takes it holds it; the last one's refusal counts."""
    for kind in kinds[:-1]:
        try:
            return held(kind, name, value)
        except InputErrors:
            continue
    return held(kinds[-1], name, value)
