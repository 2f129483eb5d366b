"""What can go wrong further in, as the layers that deal with it tell it apart."""

from __future__ import annotations

from typing import Literal

from evalkit.calls import CallFailed
from evalkit.errors import EvalkitError, InputError
from evalkit.serving.refused import Refused

TIMED_OUT = "timed out"
"""The reason of a call that a time limit ended."""

Kind = Literal["failed", "refused", "error"]
"""A call that got no answer (a time-out too); a request that a layer turned away; work of a stage that raised."""


def kind_of(error: EvalkitError) -> Kind | None:
    """Return what kind of failure an error is; None for a mistake in what was asked for, which no layer hides."""
    if isinstance(error, Refused):
        return "refused"
    if isinstance(error, CallFailed):
        return "failed"
    return None if isinstance(error, InputError) else "error"


def reason_of(error: EvalkitError) -> str:
    """Return a few words, the same for equal causes."""
    return error.call.stop if isinstance(error, CallFailed) else str(error)
