"""What vector indexes share: the form in which they are kept, and builds that give the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.values import Value


@dataclass(frozen=True, eq=False)
class FaissIndex(Value):
    """A FAISS index in FAISS's own serialised form: uint8 of shape (bytes,)."""

    data: Array

    @cached_property
    def loaded(self) -> Any:
        """The index, ready to search; loaded once a process."""
        import faiss

        return faiss.deserialize_index(np.asarray(self.data))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let FAISS, and the BLAS that it brings, work on one thread, so that a build can be repeated to the byte.

    OpenMP keeps the number of threads for every calling thread by itself: work in other threads is not slowed down.
    """
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def check_k(k: int) -> None:
    """Refuse to look for no neighbour."""
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")


def check_least(component: Any, least: int, *names: str) -> None:
    """Refuse a component of which a named field is below `least`; None is a rule of the component's own."""
    for name in names:
        value = getattr(component, name)
        if value is not None and value < least:
            raise InputError(f"{type(component).__name__}: {name} is {value}; it must be at least {least}")
