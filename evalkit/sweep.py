"""Sweeps: from one base variant and the values that some of its fields take, to many named variants."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from evalkit.errors import InputError, InputErrors, nearest
from evalkit.forms import Reader, build, plain
from evalkit.variants import Variant, components

Axis = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Sweep:
    """A base variant, and the variants made from it.

    Parameters
    ----------
    base : Variant
        Always run too: it is what the others are compared with.
    grid : {dotted path: values}
        Every combination. A path may name a whole component (``retrieve``) or one field (``retrieve.alpha``); a
        field that only some of the components have applies to those alone.
    zip : {dotted path: values}
        Values taken side by side, so all lists are of one length; combined with every point of the grid.

    Raises
    ------
    InputErrors
        For a path that no variant has, a value of the wrong type, an empty list, lists that do not pair up.
    """

    base: Variant = field(default_factory=Variant)
    grid: Axis = field(default_factory=dict)
    zip: Axis = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = _Faults()
        for name in ("grid", "zip"):
            _check_axes(getattr(self, name), name, faults)
        faults.check()
        if len({len(values) for values in self.zip.values()}) > 1:
            lengths = ", ".join(f"{path} {len(values)}" for path, values in self.zip.items())
            faults.add(("zip",), f"lists of different lengths ({lengths})")
        fitted = self._fit(faults)
        faults.check()
        object.__setattr__(self, "grid", {path: fitted[path] for path in self.grid})
        object.__setattr__(self, "zip", {path: fitted[path] for path in self.zip})
        self.variants()

    def _fit(self, faults: _Faults) -> dict[str, tuple[Any, ...]]:
        """Turn the axes' values into what their fields hold, so that `BM25` may be written as text."""
        fitted: dict[str, tuple[Any, ...]] = {}
        for path in sorted({**self.grid, **self.zip}, key=lambda p: p.count(".")):
            name = "grid" if path in self.grid else "zip"
            owners = [self.base]
            for above in [p for p in fitted if path.startswith(f"{p}.")]:
                changed = [set_path(owner, above, value) for owner in owners for value in fitted[above]]
                owners += [owner for owner in changed if owner is not None]
            owners = [owner for owner in owners if has_path(owner, path)]
            if not owners:
                faults.add((name, path), _unknown_path(path, self.base))
            values = []
            for i, value in enumerate(getattr(self, name)[path] if owners else ()):
                try:
                    values.append(_fit_value(owners, path, value))
                except InputErrors as error:
                    for fault in error.faults:
                        faults.add((name, path, i), fault)
                except InputError as error:
                    faults.add((name, path, i), str(error))
            fitted[path] = tuple(values)
        return fitted

    def variants(self) -> dict[str, Variant]:
        """Return all variants by label, the base among them; equal ones are one.

        A label names what was set (``retrieve.k=5``); a base that no point of the grid equals is ``base``.
        """
        found: dict[str, Variant] = {}
        seen: set[str] = set()
        for point in self._points():
            variant, used = _apply(self.base, point)
            if variant.fingerprint not in seen:
                seen.add(variant.fingerprint)
                found[_label(used, found)] = variant
        return found if self.base.fingerprint in seen else {"base": self.base, **found}

    @property
    def base_label(self) -> str:
        """The label of the base variant."""
        return next(n for n, v in self.variants().items() if v.fingerprint == self.base.fingerprint)

    def _points(self) -> Iterator[dict[str, Any]]:
        rows = [dict(zip(self.zip, row, strict=True)) for row in zip(*self.zip.values(), strict=True)] or [{}]
        for values in itertools.product(*self.grid.values()):
            for row in rows:
                yield dict(zip(self.grid, values, strict=True)) | row


class _Faults:
    """What is wrong with a sweep, and where in it."""

    def __init__(self) -> None:
        self.places: list[tuple[str | int, ...]] = []
        self.lines: list[str] = []

    def add(self, place: tuple[str | int, ...], what: str) -> None:
        self.places.append(place)
        self.lines.append(what)

    def check(self) -> None:
        if self.lines:
            raise InputErrors(self.lines, self.places)


def _check_axes(axes: Any, name: str, faults: _Faults) -> None:
    if not isinstance(axes, Mapping):
        faults.add((name,), f"a mapping from paths to lists is needed, not {type(axes).__name__}")
        return
    for path, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            faults.add((name, path), f"a list of values is needed, not {values!r}")
        elif not values:
            faults.add((name, path), "has no values; list at least one")


def _fit_value(owners: Sequence[Variant], path: str, value: Any) -> Any:
    """Return a value as the first owner that takes it holds it; the last one's refusal counts."""
    for i, owner in enumerate(owners):
        try:
            return get_path(set_path(owner, path, value), path)
        except InputError:
            if i == len(owners) - 1:
                raise
    return value


def _apply(base: Variant, point: Mapping[str, Any]) -> tuple[Variant, dict[str, Any]]:
    """Set the point's paths, shallow ones first, so that a field is set on the component chosen for this point."""
    variant, used = base, {}
    for path in sorted(point, key=lambda p: p.count(".")):
        changed = set_path(variant, path, point[path])
        if changed is not None:
            variant, used[path] = changed, point[path]
    return variant, {path: used[path] for path in point if path in used}


def has_path(value: Any, path: str) -> bool:
    """Whether a value has a field at a dotted path."""
    name, _, rest = path.partition(".")
    if not is_dataclass(value) or name not in {f.name for f in fields(value)}:
        return False
    return not rest or has_path(getattr(value, name), rest)


def get_path(value: Any, path: str) -> Any:
    """Return the field at a dotted path."""
    for name in path.split("."):
        value = getattr(value, name)
    return value


def set_path(value: Any, path: str, new: Any) -> Any:
    """Return a copy of `value` with the field at a dotted path replaced; None where it has no such field.

    Raises
    ------
    InputError
        If the new value does not fit the field.
    """
    if not has_path(value, path):
        return None
    name, _, rest = path.partition(".")
    if rest:
        return replace(value, **{name: set_path(getattr(value, name), rest, new)})
    reader = Reader(components())
    fitted = build(new, typing.get_type_hints(type(value))[name], reader)
    if reader.faults:
        raise InputErrors([fault.removeprefix(": ") for fault in reader.faults])
    return replace(value, **{name: fitted})


def paths_of(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted path that can be set."""
    if is_dataclass(value):
        for item in fields(value):
            yield f"{prefix}{item.name}"
            yield from paths_of(getattr(value, item.name), f"{prefix}{item.name}.")


def parameters(variant: Variant) -> dict[str, Any]:
    """Return every field of a variant by dotted path, defaults included; a component is its class's name."""
    found: dict[str, Any] = {}
    for path in paths_of(variant):
        value = get_path(variant, path)
        found[path] = type(value).__name__ if is_dataclass(value) else plain(value)
    return found


def _unknown_path(path: str, base: Variant) -> str:
    return f"no variant of the sweep has a field '{path}'{nearest(path, paths_of(base))}"


def _label(used: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    label = " ".join(f"{path}={_short(value)}" for path, value in used.items()) or "base"
    if label in taken:  # two values that print alike: tell them apart
        label = next(f"{label} #{i}" for i in itertools.count(2) if f"{label} #{i}" not in taken)
    return label


def _short(value: Any) -> str:
    if not is_dataclass(value):
        return f"{value:g}" if isinstance(value, float) else str(value)
    stated = [
        f"{f.name}={_short(getattr(value, f.name))}"
        for f in fields(value)
        if not is_dataclass(getattr(value, f.name))
        and getattr(value, f.name) != getattr(_plainest(value), f.name, None)
    ]
    return f"{type(value).__name__}({', '.join(stated)})" if stated else type(value).__name__


def _plainest(value: Any) -> Any:
    """The component of the same class with all defaults, or None where some field has none."""
    try:
        return type(value)()
    except TypeError:
        return None
