"""Remembering within a process, and not remembering while the clock is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_timed: ContextVar[bool] = ContextVar("timed", default=False)


@contextmanager
def forgotten() -> Iterator[None]:
    """Within this block `remembered` functions do their work: a remembered result is never timed as the work."""
    token = _timed.set(True)
    try:
        yield
    finally:
        _timed.reset(token)


def remembered(size: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the last `size` results of a pure function of hashable arguments."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        cached = lru_cache(size)(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(*args, **kwargs) if _timed.get() else cached(*args, **kwargs)  # type: ignore[arg-type]

        return call

    return wrap
