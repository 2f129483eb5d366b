"""An artefact: named arrays in one ``.safetensors`` file, checked against the hash that is its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from evalkit.columns import Array
from evalkit.errors import EvalkitError
from evalkit.types import Digest
from evalkit.values import FORMAT, content_digest

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "U16": "<u2", "U32": "<u4", "U64": "<u8",
}  # fmt: skip
_NAMES = {np.dtype(code).str: name for name, code in _DTYPES.items()}


class CorruptArtefact(EvalkitError):
    """A stored file does not hold what its name says."""


class OtherFormat(CorruptArtefact):
    """A stored file was written by another version of evalkit."""


class Header(NamedTuple):
    """What stands before an artefact's arrays: its kind, its format, where each array lies, where they begin."""

    kind: str
    format: str
    arrays: dict[str, dict[str, Any]]
    start: int


def lay_down(file: BinaryIO, kind: str, arrays: Mapping[str, Array]) -> None:
    """Write named arrays as ``.safetensors``, one after the other, without a copy of them all in memory.

    Raises
    ------
    TypeError
        For an array of a type that the format does not have.
    """
    sound = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    for name, array in sound.items():
        if array.dtype.str not in _NAMES:
            raise TypeError(f"{kind}.{name}: arrays of {array.dtype} cannot be stored; give numbers or truth values")
    order = sorted(sound, key=lambda name: (-sound[name].itemsize, name))  # so that each lies aligned
    ends = list(accumulate((sound[name].nbytes for name in order), initial=0))
    header: dict[str, Any] = {"__metadata__": {"format": str(FORMAT), "kind": kind}}
    for i, name in enumerate(order):
        array = sound[name]
        header[name] = {"dtype": _NAMES[array.dtype.str], "shape": array.shape, "data_offsets": ends[i : i + 2]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        file.write(sound[name].reshape(-1).view(np.uint8).data)


def read_header(path: Path) -> Header:
    """Read what stands before the arrays.

    Raises
    ------
    CorruptArtefact
        If the file is missing or has no such header.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError(length)
            return _header(file.read(length), 8 + length)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtefact(f"{path}: not a whole artefact ({type(error).__name__})") from None


def open_artefact(path: Path) -> tuple[str, dict[str, Array]]:
    """Map an artefact: its kind, and its arrays as views of the file.

    Raises
    ------
    CorruptArtefact
        If the file is missing, is no artefact, or (`OtherFormat`) is one of another format.
    """
    return _open(path, mapped=True)


def _open(path: Path, *, mapped: bool) -> tuple[str, dict[str, Array]]:
    try:
        raw = (
            np.memmap(path, dtype=np.uint8, mode="r") if mapped else np.frombuffer(path.read_bytes(), dtype=np.uint8)
        )
    except (OSError, ValueError) as error:
        raise CorruptArtefact(f"{path}: not a whole artefact ({type(error).__name__})") from None
    return _read(raw, str(path))


def read_bytes(data: bytes) -> tuple[str, dict[str, Array]]:
    """Read an artefact that lies in memory: its kind, and its arrays as views of the bytes.

    Raises
    ------
    CorruptArtefact
        If it is no artefact, or (`OtherFormat`) one of another format.
    """
    return _read(np.frombuffer(data, dtype=np.uint8), "bytes")


def _read(raw: Array, name: str) -> tuple[str, dict[str, Array]]:
    try:
        start = 8 + int(raw[:8].view("<u8")[0])
        header = _header(bytes(raw[8:start]), start)
        if header.format != str(FORMAT):
            raise OtherFormat(f"{name}: format {header.format}, this version reads {FORMAT}")
        arrays = {}
        for column, entry in header.arrays.items():
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= len(raw) - start:  # a slice would quietly be shorter
                raise ValueError(column)
            data = np.ndarray.view(raw[start + begin : start + end], np.ndarray)
            arrays[column] = data.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CorruptArtefact(f"{name}: not a whole artefact ({type(error).__name__})") from None
    return header.kind, arrays


def check(path: Path, content: Digest) -> str:
    """Check a file against the hash of what it should hold; returns its kind.

    Raises
    ------
    CorruptArtefact
        If it does not hold that.
    """
    kind, arrays = _open(path, mapped=_is_large(path))
    if content_digest(kind, arrays) != content:
        raise CorruptArtefact(f"{path}: content does not match its name")
    return kind


def _is_large(path: Path) -> bool:
    """Whether mapping a file is quicker than reading it; what is missing is neither."""
    with suppress(OSError):
        return path.stat().st_size > 1 << 20
    return False


def _header(text: bytes, start: int) -> Header:
    """Read 8 bytes of length and a JSON header, as the format defines them."""
    arrays = json.loads(text)
    note = arrays.pop("__metadata__")
    return Header(str(note["kind"]), str(note["format"]), arrays, start)
