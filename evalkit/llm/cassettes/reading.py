"""Reading a cassette: line by line, checked as it goes, so that a cut or damaged file is told and not believed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from evalkit.calls import CallFailed
from evalkit.errors import InputError
from evalkit.llm.cassettes.rows import FORMAT, Header, Recorded, read_recorded, read_row
from evalkit.types import Digest

_WHAT_TO_DO = "fetch the file again, or record it anew"


def calls(path: str | os.PathLike[str]) -> Iterator[Recorded]:
    """Yield every line of a cassette in turn, in flat memory.

    Raises
    ------
    InputError
        If there is no such file, it is of a later format, cut or damaged; lines before the place were whole.
    """
    for number, (key, entry, _) in enumerate(read(Path(path)), 2):
        try:
            found = read_recorded(key, entry)
        except ValueError as error:
            _stop(f"{path}: line {number}: {error}")
        yield found


def header_of(path: Path) -> Header:
    """Return a cassette's first line.

    Raises
    ------
    InputError
    """
    with _told(path, [1]), gzip.open(path, "rb") as file:
        return _header(path, file.readline())


def faults_of(path: Path) -> list[str]:
    """Read a cassette to its end and return all that is wrong with it, one line a fault."""
    faults: list[str] = []
    try:
        for _ in read(path, faults.append, thorough=True):
            pass
    except InputError as error:
        faults.append(str(error))
    return faults


def _stop(fault: str) -> NoReturn:
    raise InputError(f"{fault}; {_WHAT_TO_DO}")


def read(
    path: Path, wrong: Callable[[str], None] = _stop, thorough: bool = False
) -> Iterator[tuple[Digest, dict[str, Any], bytes]]:
    """Yield every line's key and entry, and the line itself without its end.

    Parameters
    ----------
    path : Path
    wrong : function
        Told of every line that is damaged; it is left out if this returns. By default it raises.
    thorough : bool
        Look also whether every entry can be read.

    Raises
    ------
    InputError
    """
    number, last, state = [1], "", hashlib.blake2b(digest_size=16)
    with _told(path, number), gzip.open(path, "rb") as file:
        header = _header(path, file.readline())
        for line in file:
            number[0] += 1
            state.update(line)
            try:
                key, entry = read_row(line.rstrip(b"\n"))
                if thorough:
                    read_recorded(key, entry)
            except ValueError as error:
                wrong(f"{path}: line {number[0]}: {error}")
                continue
            if key <= last:
                wrong(f"{path}: line {number[0]}: stands twice, or out of order")
                continue
            last = key
            yield key, entry, line.rstrip(b"\n")
    if number[0] - 1 != header.lines:
        wrong(f"{path}: line {number[0]}: is the last, but the header states {header.lines} lines after itself")
    elif state.hexdigest() != header.sum:
        wrong(f"{path}: line 1: the header's checksum is not that of the lines")


def _header(path: Path, line: bytes) -> Header:
    try:
        stated = json.loads(line)
        version = stated["cassette"]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: line 1: is no header; this is no cassette of evalkit's") from None
    if isinstance(version, int) and version > FORMAT:
        raise InputError(f"{path}: is a cassette of format {version}; this evalkit reads up to {FORMAT}: update it")
    known = {field.name for field in fields(Header)}
    try:
        header = Header(**{name: value for name, value in stated.items() if name in known})
    except TypeError:
        raise InputError(f"{path}: line 1: the header is damaged; {_WHAT_TO_DO}") from None
    return header


@contextmanager
def _told(path: Path, number: list[int]) -> Iterator[None]:
    """Say in one line why a file cannot be read, and how far it was."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such cassette; record it first (--cassette-mode record)") from None
    except EOFError:
        raise InputError(f"{path}: line {number[0]}: the file is cut after it; {_WHAT_TO_DO}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        if number[0] == 1:
            raise InputError(f"{path}: is no cassette, or damaged from its start ({error}); {_WHAT_TO_DO}") from None
        raise InputError(f"{path}: line {number[0]}: damaged after it ({error}); {_WHAT_TO_DO}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def failed(entry: dict[str, Any]) -> CallFailed:
    """Return the failure that was recorded."""
    call = Recorded.read("", entry).call
    assert call is not None  # noqa: S101 - what failed has one
    return CallFailed(str(entry["error"]), call, bool(entry.get("final", False)))
