"""A component is a value: what its identity, its copies and its written form must hold to."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from types import ModuleType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from evalkit import fingerprint
from evalkit.errors import InputError
from evalkit.forms import Reader, build, conforms, plain
from evalkit.types import CORPUS, QUERY, Digest, Node
from evalkit.values import Value
from evalkit.variants import components


@dataclass(frozen=True)
class Stub:
    """Stands for a component that is not the one that is there, and for the op of a value that is given."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, *inputs: Any) -> Value:
        """Never: only its identity is used."""
        raise NotImplementedError

    def expand(self, *given: Any) -> Node:
        """Return a node that no other component makes."""
        return Node(self, tuple(node for node in given if isinstance(node, Node)))


def examples(module: ModuleType) -> list[Any]:
    """Return one instance of every component that a package exports, with its defaults.

    A field without a default gets the first exported component that fits it; a component that none fits, such as one
    of a model that a user must name, is left out.
    """
    made = (_example(getattr(module, name)) for name in module.__all__)
    return [component for component in made if component is not None]


def _example(kind: Any) -> Any:
    hints = get_type_hints(kind)
    parameters = inspect.signature(kind).parameters.values()
    needed = {p.name: _fitting(hints[p.name]) for p in parameters if p.default is p.empty}
    return None if None in needed.values() else kind(**needed)


def _fitting(hint: Any) -> Any:
    fitting = (kind for kind in components().values() if conforms(kind, hint))
    return next((found for kind in fitting if (found := _example(kind)) is not None), None)


def check_component(component: Any, others: Mapping[str, Any] | None = None) -> None:
    """Check that a component is a value: frozen, hashable, copied and written down without loss, identified by all.

    Parameters
    ----------
    component
        A frozen dataclass: a stage, a generator, a metric, a serving layer.
    others : {field: another value}, optional
        For fields whose other values cannot be guessed from the declared type.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    name = type(component).__name__
    if not is_dataclass(component) or isinstance(component, type):
        raise AssertionError(f"{name} is not an instance of a dataclass")
    for field in fields(component):
        try:
            setattr(component, field.name, getattr(component, field.name))
        except FrozenInstanceError:
            continue
        raise AssertionError(f"{name} is not frozen: {field.name} can be set")
    thawed = pickle.loads(pickle.dumps(component))  # noqa: S301 - our own bytes
    for how, copy in {"replace": replace(component), "pickle": thawed}.items():
        assert copy == component, f"{name}: a copy by {how} is not equal to it"
        assert hash(copy) == hash(component), f"{name}: a copy by {how} has another hash"
        assert _identities(copy) == _identities(component), f"{name}: a copy by {how} has another identity"
    _check_written_form(component)
    for field in fields(component):
        for changed in _changed(component, field.name, others or {}):
            for what, mine in _identities(component).items():
                differs = mine != _identities(changed)[what]
                assert differs, f"{name}: the {what} does not depend on the field {field.name}"


def _identities(component: Any) -> dict[str, Digest]:
    """The component's own digest and, where it expands, the recipe of its nodes, which is what a variant goes by."""
    found = {"fingerprint": fingerprint.digest(component)}
    if hasattr(component, "expand"):
        given = {
            "chunks": CORPUS,
            "texts": QUERY,
            "vectors": CORPUS,
            "query": QUERY,
            "query_vectors": QUERY,
            "ranking": QUERY,
            "found": QUERY,
            "k": 3,
        }
        found["recipe"] = component.expand(**{name: given[name] for name in _parameters(component.expand)}).recipe
    return found


def _parameters(method: Callable[..., Any]) -> list[str]:
    return [p.name for p in inspect.signature(method).parameters.values() if p.default is p.empty]


def _check_written_form(component: Any) -> None:
    name = type(component).__name__
    reader = Reader(names={**components(), **{type(part).__name__: type(part) for part in _parts(component)}})
    written = json.loads(json.dumps(plain(component)))
    read = build(written, type(component), reader)
    assert not reader.faults, f"{name}: its own written form {written} is refused: {reader.faults}"
    assert read == component, f"{name}: written as {written}, it is read back as {read}"
    assert hash(read) == hash(component), f"{name}: read back from {written}, it has another hash"


def _parts(value: Any) -> Iterator[Any]:
    if is_dataclass(value):
        yield value
        for field in fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _parts(item)


def _changed(component: Any, name: str, others: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the component with another value of one field; a nested component is changed in each of its own."""
    value = getattr(component, name)
    stated: Mapping[str, Any] = component.identity() if hasattr(component, "identity") else {}
    if name in others:
        yield replace(component, **{name: others[name]})
    elif name in stated:
        assert stated[name] != value, (
            f"{type(component).__name__}: identity() gives {name} as it was named: {value!r}"
        )
    elif is_dataclass(value):
        if _is_role(get_type_hints(type(component))[name]):
            yield replace(component, **{name: Stub()})
        for inner in fields(value):
            yield from (replace(component, **{name: other}) for other in _changed(value, inner.name, {}))
    else:
        hint = get_type_hints(type(component))[name]
        if get_origin(hint) is Literal and len(get_args(hint)) == 1:
            return  # nothing else may stand there
        for candidate in _candidates(hint, value):
            try:
                changed = replace(component, **{name: candidate})
            except InputError:
                continue
            if changed != component:
                yield changed
                return
        raise AssertionError(f"{type(component).__name__}: no other value of {name} is known; give it in `others`")


def _is_role(hint: Any) -> bool:
    """Whether a field is for whatever fits a protocol, rather than for one class."""
    return any(getattr(option, "_is_protocol", False) for option in (hint, *get_args(hint)))


def _candidates(hint: Any, value: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, UnionType):
        for option in get_args(hint):
            yield from _candidates(option, value)
    elif get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_origin(hint) is tuple:
        items = list(_candidates(get_args(hint)[0], None))
        yield from ((*value, *(item,) * times) for times in (1, 2) for item in items)
        yield from (value[:-1], ()) if value else ()
    elif getattr(hint, "_is_protocol", False):
        yield Stub()
    elif hint is bool:
        yield not value
    elif hint in (int, float):
        yield from (hint((value or 0) + step) for step in (1, -1, 0.25, -0.25) if hint is float or step in (1, -1))
    elif hint is str:
        yield f"{value or ''} "
    elif hint is type(None):
        yield None
