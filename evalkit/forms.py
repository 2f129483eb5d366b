"""Values as plain data and back, by the types that the dataclasses declare.

One grammar for YAML and for Python: a dataclass is ``{Name: {field: value}}``, or ``Name`` alone where the defaults
will do, or just its fields where only one class fits. `build` accepts finished objects anywhere, so a grid written
in Python goes through the same checks as one read from a file.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union

from evalkit.errors import InputError, InputErrors, nearest

Path = tuple[str | int, ...]
T = TypeVar("T")


@dataclass
class Reader:
    """What `build` needs beside the data.

    Parameters
    ----------
    names : {name: class or function}
        Components that may be named.
    texts : {type: function}
        How a plain text becomes a value of a type (a metric's name).
    where : function
        From a path in the data to what an error prints (file and line).
    """

    names: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[type, Callable[[str], Any]] = field(default_factory=dict)
    where: Callable[[Path], str] = lambda path: ".".join(map(str, path))
    faults: list[str] = field(default_factory=list)

    def fault(self, path: Path, what: str) -> Any:
        """Note a fault; building goes on, so that all are found."""
        self.faults.append(f"{self.where(path)}: {what}")
        return _WRONG


class Printed:
    """A value that a spec can only name: it is written as the text that it prints."""


_WRONG: Any = object()
"""Stands for a value whose fault was noted."""


def build(data: Any, hint: Any, reader: Reader, path: Path = ()) -> Any:
    """Return `data` as a value of the type `hint`; what does not fit goes to ``reader.faults``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return data
    if origin in (Union, types.UnionType):
        return _union(data, args, reader, path)
    if origin is Literal:
        return data if data in args else reader.fault(path, f"{data!r} is not one of {', '.join(map(repr, args))}")
    if origin in (tuple, list) or (origin is not None and issubclass(origin, Sequence)):
        if isinstance(data, str) or not isinstance(data, Sequence):
            return reader.fault(path, f"a list is needed, not {_kind(data)}")
        items = tuple(build(item, args[0], reader, (*path, i)) for i, item in enumerate(data))
        return _WRONG if any(item is _WRONG for item in items) else items
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            return reader.fault(path, f"a mapping is needed, not {_kind(data)}")
        found = {key: build(item, args[1], reader, (*path, key)) for key, item in data.items()}
        return _WRONG if any(item is _WRONG for item in found.values()) else found
    if Callable in (hint, origin):
        return data if callable(data) else reader.fault(path, f"a function is needed, not {_kind(data)}")
    if hint in _SCALARS:
        return _scalar(data, hint, reader, path)
    return _component(data, hint, reader, path)


_SCALARS: dict[Any, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "nothing",
}  # fmt: skip


def _scalar(data: Any, hint: type, reader: Reader, path: Path) -> Any:
    if type(data).__module__ == "numpy" and hasattr(data, "item"):  # a point of np.linspace
        data = data.item()
    if hint is float and type(data) is int:
        return float(data)
    if type(data) is hint and (not isinstance(data, float) or math.isfinite(data)):
        return data
    return reader.fault(path, f"{_SCALARS[hint]} is needed, not {_kind(data)}")


def _union(data: Any, options: Sequence[Any], reader: Reader, path: Path) -> Any:
    if data is None and type(None) in options:
        return None
    rest = [option for option in options if option is not type(None)]
    for option in rest if len(rest) > 1 else ():
        trial = Reader(reader.names, reader.texts)
        value = build(data, option, trial, path)
        if not trial.faults:
            return value
    return build(data, _meant(data, rest, reader), reader, path)  # which says what is wrong


def _meant(data: Any, options: Sequence[Any], reader: Reader) -> Any:
    """The option that a user most likely meant: the one that the name fits, else the one of the same kind."""
    name = next(iter(data), None) if isinstance(data, Mapping) else data
    maker = reader.names.get(name) if isinstance(name, str) else None
    parts = [option for option in options if option not in _SCALARS]
    if maker is not None:
        parts = [option for option in parts if conforms(maker, option)] or parts
    if isinstance(data, str | Mapping) or is_dataclass(data):
        return (parts or list(options))[0]
    return next((option for option in options if option in _SCALARS), options[-1])


def _component(data: Any, hint: Any, reader: Reader, path: Path) -> Any:
    if is_dataclass(data) and not isinstance(data, type):
        if conforms(data, hint):
            _check_fields(data, reader, path)
            return data
        fitting = [n for n, c in reader.names.items() if conforms(c, hint)]
        return reader.fault(path, f"{type(data).__name__} cannot stand here{nearest('', fitting)}")
    if isinstance(data, str) and hint in reader.texts:
        try:
            return reader.texts[hint](data)
        except (InputError, ValueError) as error:
            return reader.fault(path, str(error))
    if isinstance(data, str):
        return _named(data, {}, hint, reader, path, path)
    if not isinstance(data, Mapping):
        return reader.fault(path, f"{hint.__name__}: a name or a mapping is needed, not {_kind(data)}")
    if len(data) == 1 and (name := next(iter(data))) in reader.names and name not in _field_names(hint):
        inner = data[name]
        return _named(name, {} if inner is None else inner, hint, reader, path, (*path, name))
    if is_dataclass(hint):
        return _fields(hint, data, reader, path)
    if len(data) == 1:
        return _named(str(next(iter(data))), {}, hint, reader, path, path)
    known = nearest("", (n for n, c in reader.names.items() if conforms(c, hint)))
    return reader.fault(path, f"one name with its fields is needed, not {len(data)} keys{known}")


def _check_fields(data: Any, reader: Reader, path: Path) -> None:
    """Check the plain fields of a finished object and of those in it: Python checks no types."""
    kind: Any = type(data)
    hints = _hints(kind)
    for item in fields(data):
        held, hint = getattr(data, item.name), hints[item.name]
        if is_dataclass(held) and not isinstance(held, type):
            _check_fields(held, reader, (*path, item.name))
        elif all(h in _SCALARS or typing.get_origin(h) is Literal for h in _options(hint)):
            build(held, hint, reader, (*path, item.name))


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _named(name: str, data: Any, hint: Any, reader: Reader, path: Path, inside: Path) -> Any:
    fitting = [n for n, c in reader.names.items() if conforms(c, hint)]
    maker = reader.names.get(name)
    if maker is None:
        return reader.fault(path, f"unknown {hint.__name__} '{name}'{nearest(name, fitting)}")
    if name not in fitting:
        return reader.fault(path, f"{name} cannot stand here{nearest('', fitting)}")
    if not isinstance(data, Mapping):
        return reader.fault(inside, f"{name} takes a mapping of fields, not {_kind(data)}")
    return _fields(maker, data, reader, inside)


def _fields(maker: Any, data: Mapping[str, Any], reader: Reader, path: Path) -> Any:
    """Build a dataclass, or call a preset, from its fields."""
    hints = _hints(maker)
    parameters = {p.name: p for p in inspect.signature(maker).parameters.values()}
    values: dict[str, Any] = {}
    for key, item in data.items():
        if key in parameters:
            values[key] = build(item, hints[key], reader, (*path, key))
        else:
            reader.fault((*path, key), f"{maker.__name__} has no field '{key}'{nearest(str(key), parameters)}")
    missing = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty and n not in data]
    for name in missing:
        reader.fault(path, f"{maker.__name__} needs the field '{name}'")
    if missing or any(value is _WRONG for value in values.values()) or len(values) < len(data):
        if hasattr(maker, "faults"):  # what can be said of the fields that are right
            sound = {key: value for key, value in values.items() if value is not _WRONG}
            for key, what in maker.faults(sound):
                reader.fault((*path, key), what)
        return _WRONG
    try:
        return maker(**values)
    except InputErrors as error:
        for place, fault in zip(error.places or [()] * len(error.faults), error.faults, strict=True):
            reader.fault((*path, *place), fault)
        return _WRONG
    except InputError as error:
        return reader.fault(path, str(error))


def conforms(item: Any, hint: Any) -> bool:
    """Whether an object, a class or a preset fits a class or protocol, by the names of methods' parameters.

    Parameter names tell ``Retriever.expand(chunks, query)`` from ``Assembler.expand(chunks, query, ranking)``.
    """
    kind = item if isinstance(item, type) else type(item)
    if inspect.isfunction(item):
        returned = typing.get_type_hints(item).get("return")
        return returned is hint or (isinstance(returned, type) and conforms(returned, hint))
    if not getattr(hint, "_is_protocol", False):
        return isinstance(hint, type) and issubclass(kind, hint)
    return _fits(kind, hint)


@cache
def _fits(kind: type, protocol: type) -> bool:
    for name in _members(protocol):
        declared, actual = getattr(protocol, name, None), getattr(kind, name, None)
        if not callable(declared):
            if actual is None and name not in _field_names(kind):
                return False
        elif not callable(actual) or _parameters(declared) not in (None, _parameters(actual)):
            return False
    return True


def _members(protocol: type) -> set[str]:
    """What a protocol asks for (``typing.get_protocol_members`` is new in Python 3.13)."""
    bases = [b for b in protocol.__mro__ if getattr(b, "_is_protocol", False)]
    names = {name for b in bases for name in (*vars(b), *inspect.get_annotations(b))}
    return {name for name in names if name == "__call__" or not name.startswith("_")}


def _parameters(method: Any) -> tuple[str, ...] | None:
    """Names of the required parameters; None where the protocol leaves them open (``*inputs``)."""
    given = list(inspect.signature(method).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in given):
        return None
    return tuple(p.name for p in given if p.default is p.empty)


def _field_names(kind: Any) -> frozenset[str]:
    return frozenset(f.name for f in fields(kind)) if is_dataclass(kind) else frozenset()


@cache
def _hints(maker: Any) -> dict[str, Any]:
    return typing.get_type_hints(maker)


def plain(value: Any, texts: tuple[type, ...] = ()) -> Any:
    """Return a value as plain data: the inverse of `build`.

    Fields at their defaults are left out; instances of `texts` are written as the text that they print.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, (*texts, Printed)):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(item, texts) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item, texts) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        stated = plain_fields(value, texts)
        return {type(value).__name__: stated} if stated else type(value).__name__
    raise InputError(f"{type(value).__name__} cannot be written to a spec; use a dataclass, numbers or text")


def plain_fields(value: Any, texts: tuple[type, ...] = ()) -> dict[str, Any]:
    """Return a dataclass's fields as plain data; a field that only one class fits goes without the class's name."""
    kind: Any = type(value)
    hints, stated = _hints(kind), {}
    for item in fields(value):
        if not _is_default(value, item):
            held = getattr(value, item.name)
            options = (hints[item.name], *typing.get_args(hints[item.name]))
            classes = [option for option in options if is_dataclass(option)]
            alone = classes == [type(held)] and not isinstance(held, texts)
            stated[item.name] = plain_fields(held, texts) if alone else plain(held, texts)
    return stated


def _is_default(value: Any, item: Field[Any]) -> bool:
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    return (
        default is not MISSING
        and getattr(value, item.name) == default
        and type(default) is type(getattr(value, item.name))
    )


def _kind(data: Any) -> str:
    if data is None:
        return "nothing"
    name = {
        dict: "a mapping",
        list: "a list",
        tuple: "a list",
        str: f"the text {data!r}",
        bool: str(data).lower(),
    }
    return name.get(type(data), f"{data!r}")
