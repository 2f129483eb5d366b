"""Values as bytes and back: what every state keeps, in the form of the store's artefacts. No pickle."""

from __future__ import annotations

import io

from evalkit.errors import EvalkitError
from evalkit.store.artefacts import lay_down, read_bytes
from evalkit.values import Value, kinds

_kinds: dict[str, type[Value]] = {}


def pack(value: Value) -> bytes:
    """Return a value as the bytes of an artefact: its kind, its format, its arrays."""
    file = io.BytesIO()
    lay_down(file, type(value).__name__, value.arrays())
    return file.getvalue()


def unpack(data: bytes) -> Value | None:
    """Read what `pack` wrote; None where it is damaged, or of another version of evalkit."""
    try:
        kind, arrays = read_bytes(data)
        if kind not in _kinds:  # one whose module was loaded since, or none
            _kinds.update(kinds())
        return _kinds[kind].from_arrays(arrays)
    except (EvalkitError, KeyError, TypeError, ValueError):
        return None
