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

_MISFIT: Any = object()
"""Stands for a value whose fault was noted."""

Axes = Mapping[str, Any]
"""A sequence of values for every path. `Sweep` checks that they are sequences, and says all that is wrong at once."""


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
    systems : {name: Variant}
        More variants, by names of your own. One that the base or a point of the grid equals gives it its name.

    Raises
    ------
    InputErrors
        For a path that no variant has, a value that does not fit, an empty list, lists that do not pair up.
    """

    base: Variant = field(default_factory=Variant)
    grid: Axes = field(default_factory=dict)
    zip: Axes = field(default_factory=dict)
    systems: Mapping[str, Variant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("grid", "zip"):
            object.__setattr__(self, name, _as_lists(getattr(self, name)))
        faults = _Faults()
        base: Any = self.base
        if not isinstance(base, Variant):
            raise InputErrors([f"a Variant is needed, not {type(base).__name__}"], [("base",)])
        axes = {name: _sound_axes(getattr(self, name), name, faults) for name in ("grid", "zip")}
        for path in [path for path in axes["zip"] if path in axes["grid"]]:
            faults.add(("zip", path), "is in the grid too; give its values in one place")
        if len({len(values) for values in axes["zip"].values()}) > 1:
            lengths = ", ".join(f"{path} {len(values)}" for path, values in axes["zip"].items())
            faults.add(("zip",), f"lists of different lengths ({lengths})")
        fitted = self._fit(axes, faults)
        axes = {name: {p: fitted[p] for p in paths if p in fitted} for name, paths in axes.items()}
        object.__setattr__(self, "grid", axes["grid"])
        object.__setattr__(self, "zip", axes["zip"])
        self._try_points(faults)
        self._check_systems(faults)
        faults.check()

    def _check_systems(self, faults: _Faults) -> None:
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

    def _fit(self, axes: Mapping[str, Axes], faults: _Faults) -> dict[str, tuple[Any, ...]]:
        """Turn the axes' values into what their fields hold, so that `BM25` may be written as text."""
        fitted: dict[str, tuple[Any, ...]] = {}
        named = [(path, name) for name, paths in axes.items() for path in paths]
        for path, name in sorted(named, key=lambda pair: pair[0].count(".")):
            owners = [self.base]
            for above in [p for p in fitted if path.startswith(f"{p}.")]:
                sound = [value for value in fitted[above] if value is not _MISFIT]
                owners += [_set(o, {above: value}) for o in owners if has_path(o, above) for value in sound]
            owners = [owner for owner in owners if has_path(owner, path)]
            if not owners:
                faults.add((name, path), _unknown_path(path, self.base))
                continue
            values = [_MISFIT] * len(axes[name][path])
            for i, value in enumerate(axes[name][path]):
                try:
                    values[i] = _fit_value(owners, path, value)
                except InputErrors as error:
                    for fault in error.faults:
                        faults.add((name, path, i), fault)
            fitted[path] = tuple(values)
        return fitted

    def _try_points(self, faults: _Faults) -> None:
        """Make every variant once, since values that fit their fields may not fit one another."""
        fits = not faults.lines
        failed: dict[str, dict[str, int]] = {}
        worked: set[tuple[str, int]] = set()
        used: set[str] = set()
        for point in self._points():
            if _MISFIT in self._values(point).values():
                continue
            try:
                here = _apply(self.base, self._values(point))[1].keys()
                used |= here
                worked |= {(path, point[path]) for path in here}
            except InputError as error:
                failed.setdefault(str(error), point)
        for what, point in failed.items():
            alone = [path for path in point if self._fails_alone(path, point[path], what)]
            culprits = alone or [path for path, i in point.items() if (path, i) not in worked]
            if len(culprits) == 1:
                faults.add((*self._place(culprits[0]), point[culprits[0]]), what)
            else:
                faults.add(("grid" if self.grid else "zip",), f"{_label(self._values(point), {})}: {what}")
        for path in (*self.grid, *self.zip):
            if fits and not failed and path not in used:
                faults.add(self._place(path), "no variant that the sweep makes has this field")

    def _place(self, path: str) -> tuple[str, str]:
        return "grid" if path in self.grid else "zip", path

    def _fails_alone(self, path: str, i: int, what: str) -> bool:
        try:
            _apply(self.base, self._values({path: i}))
        except InputError as error:
            return str(error) == what
        return False

    def variants(self) -> dict[str, Variant]:
        """Return all variants by label, the base among them; equal ones are one.

        A label names what was set (``retrieve.k=5``); a base that no point of the grid equals is ``base``.
        """
        named = {variant.fingerprint: name for name, variant in self.systems.items()}
        found: dict[str, Variant] = {}
        seen: set[str] = set()
        for point in self._points():
            variant, used = _apply(self.base, self._values(point))
            if variant.fingerprint not in seen:
                seen.add(variant.fingerprint)
                found[named.get(variant.fingerprint) or _label(used, {**found, **self.systems})] = variant
        if self.base.fingerprint not in seen:
            found = {named.get(self.base.fingerprint, "base"): self.base, **found}
        return found | {name: variant for name, variant in self.systems.items() if name not in found}

    @property
    def base_label(self) -> str:
        """The label of the base variant."""
        return next(n for n, v in self.variants().items() if v.fingerprint == self.base.fingerprint)

    def _points(self) -> Iterator[dict[str, int]]:
        """Yield every combination: of each path, which of its values."""
        rows = [dict.fromkeys(self.zip, i) for i in range(min(map(len, self.zip.values()), default=1))]
        for places in itertools.product(*(range(len(values)) for values in self.grid.values())):
            for row in rows:
                yield dict(zip(self.grid, places, strict=True)) | row

    def _values(self, point: Mapping[str, int]) -> dict[str, Any]:
        return {path: (self.grid if path in self.grid else self.zip)[path][i] for path, i in point.items()}


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


def _sound_axes(axes: Any, name: str, faults: _Faults) -> Axes:
    if not isinstance(axes, Mapping):
        faults.add((name,), f"a mapping from paths to lists is needed, not {type(axes).__name__}")
        return {}
    sound = {}
    for path, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            faults.add((name, path), f"a list of values is needed, not {values!r}")
        elif not values:
            faults.add((name, path), "has no values; list at least one")
        else:
            sound[str(path)] = values
    return sound


def _as_lists(axes: Any) -> Any:
    """Take arrays, of NumPy say, as the lists that they are."""
    if not isinstance(axes, Mapping):
        return axes
    return {path: values.tolist() if hasattr(values, "tolist") else values for path, values in axes.items()}


def _fit_value(owners: Sequence[Variant], path: str, value: Any) -> Any:
    """Return a value as the first owner that takes it holds it; the last one's refusal counts."""
    for i, owner in enumerate(owners):
        try:
            return _as_held(owner, path, value)
        except InputErrors:
            if i == len(owners) - 1:
                raise
    return value


def _as_held(value: Any, path: str, new: Any) -> Any:
    """Return `new` as the field at a dotted path holds it.

    Raises
    ------
    InputErrors
        If it is of another type.
    """
    above, _, name = path.rpartition(".")
    reader = Reader(components())
    fitted = build(new, typing.get_type_hints(type(get_path(value, above)))[name], reader)
    if reader.faults:
        raise InputErrors([fault.removeprefix(": ") for fault in reader.faults])
    return fitted


def _apply(base: Variant, point: Mapping[str, Any]) -> tuple[Variant, dict[str, Any]]:
    """Set the point's paths, shallow ones first, so that a field is set on the component chosen for this point."""
    variant, used = base, set()
    for _, paths in itertools.groupby(sorted(point, key=_depth_and_owner), key=_depth_and_owner):
        here = [path for path in paths if has_path(variant, path)]
        variant = _set(variant, {path: _as_held(variant, path, point[path]) for path in here})
        used |= set(here)
    return variant, {path: point[path] for path in point if path in used}


def _depth_and_owner(path: str) -> tuple[int, str]:
    return path.count("."), path.rpartition(".")[0]


def has_path(value: Any, path: str) -> bool:
    """Whether a value has a field at a dotted path."""
    name, _, rest = path.partition(".")
    if not is_dataclass(value) or name not in {f.name for f in fields(value)}:
        return False
    return not rest or has_path(getattr(value, name), rest)


def get_path(value: Any, path: str) -> Any:
    """Return the field at a dotted path; the value itself at the empty one."""
    for name in path.split(".") if path else ():
        value = getattr(value, name)
    return value


def _set(value: Any, news: Mapping[str, Any]) -> Any:
    """Return a copy of `value` with fields of one component replaced, all in one step: they may need one another.

    Raises
    ------
    InputError
        If the component refuses them.
    """
    if not news:
        return value
    name, _, rest = next(iter(news)).partition(".")
    if not rest:
        return replace(value, **news)
    inner = {path.partition(".")[2]: new for path, new in news.items()}
    return replace(value, **{name: _set(getattr(value, name), inner)})


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
