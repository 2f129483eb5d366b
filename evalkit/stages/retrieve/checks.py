"""Checks that retrievers share."""

from __future__ import annotations

from evalkit.errors import InputError


def check_k(owner: object, k: object) -> None:
    """Refuse a number of chunks that is no whole number or below 1."""
    if not isinstance(k, int):
        raise InputError(f"{type(owner).__name__}: k is {k!r}; it must be a whole number")
    if k < 1:
        raise InputError(f"{type(owner).__name__}: k is {k}; it must be at least 1")
