"""Functions as fields of components: written by name where a name leads back to them."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from evalkit.errors import InputError
from evalkit.forms import Printed

RUN = uuid.uuid4().hex
"""Stands for this process in the identity of what nothing else identifies."""


class Function(Printed):
    """A callable that no name leads back to: a lambda, a closure, a method of some object, one from a notebook.

    One callable has one of these as long as it is held, with an identity that no other has, in no process.
    """

    _known: ClassVar[WeakValueDictionary[tuple[int, Any], Function]] = WeakValueDictionary()

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.token = call, uuid.uuid4().hex

    @classmethod
    def of(cls, call: Callable[..., Any]) -> Function:
        """Return the one that stands for a callable; every look at an object's method gives an equal callable."""
        owner = getattr(call, "__self__", None)
        part = getattr(call, "__func__", call) if owner is None else getattr(call, "__func__", call.__name__)
        key = (id(owner), part if isinstance(part, str) else id(part))
        return cls._known.setdefault(key, cls(call))

    def __call__(self, *given: Any) -> Any:
        """Call it."""
        return self.call(*given)

    def __str__(self) -> str:
        return f"{':'.join(name_of(self.call))} (known to one process only)"

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (self.call,)


def name_of(call: Callable[..., Any]) -> tuple[str, str]:
    """Return a callable's module and qualified name; those of its class where it has none."""
    named = call if hasattr(call, "__qualname__") else type(call)
    return str(named.__module__), str(named.__qualname__)


def as_field(function: Any) -> str | Function:
    """Return a function as a component holds it: ``module:name`` where that leads back to it.

    Raises
    ------
    InputError
        If a name leads to no function, or something else is given.
    """
    if isinstance(function, str):
        resolve(function)
        return function
    if isinstance(function, Function):
        return function
    if not callable(function):
        hint = "; give its method, e.g. .invoke" if hasattr(function, "invoke") else ""
        raise InputError(f"{type(function).__name__} cannot be called{hint}")
    module, name = name_of(function)
    if module != "__main__" and _find(sys.modules.get(module), name) is function:
        return f"{module}:{name}"
    return Function.of(function)


def resolve(function: str | Function) -> Callable[..., Any]:
    """Return what can be called.

    Raises
    ------
    InputError
        If the name leads to no function.
    """
    if isinstance(function, Function):
        return function.call
    if not re.fullmatch(r"[\w.]+:[\w.]+", function):
        raise InputError(f"'{function}' names no function; write it as 'module:name'")
    module, _, name = function.partition(":")
    try:
        found = _find(import_module(module), name)
    except ImportError as error:
        raise InputError(f"'{function}' cannot be imported ({error})") from None
    if not callable(found):
        raise InputError(f"'{function}' leads to no function; is it spelt right?")
    return found  # type: ignore[no-any-return]


def identity_of(function: str | Function) -> list[str]:
    """Return module, name and, where a name does not say it all, what tells this run's function from all others."""
    if isinstance(function, Function):
        return [*name_of(function.call), function.token]
    module, _, name = function.partition(":")
    return [module, name] if module.split(".")[0] == "evalkit" else [module, name, RUN]


def _find(owner: Any, name: str) -> Any:
    return reduce(lambda found, part: getattr(found, part, None), name.split("."), owner)
