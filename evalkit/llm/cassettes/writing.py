"""Writing a cassette: whole or not at all, the same bytes for the same calls, and never with a secret."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, InputError
from evalkit.llm.cassettes.rows import Header, entry_of, kind_of, write_row
from evalkit.llm.cassettes.secrets import Secrets
from evalkit.llm.cassettes.table import Row, Rows
from evalkit.types import Digest

ENDING = ".jsonl.gz"


def write(path: Path, rows: Callable[[], Iterable[Row]], refreshing: str = "") -> Header:
    """Write rows, which come in the order of their keys, and come twice.

    Raises
    ------
    InputError
        If a secret is among them, with the line and the field, or the file may not be written.
    EvalkitError
        If the disk is full.
    """
    header = _looked_over(path, rows(), refreshing)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as raw:
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as file:
                    file.write(header.line())
                    for _, _, row in rows():
                        file.write(row.encode() + b"\n")
                raw.flush()
                os.fsync(raw.fileno())  # it may be the only copy of what was paid for
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except PermissionError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another file") from None
    except OSError as error:
        raise EvalkitError(
            f"{path}: cannot be written ({error.strerror or error}); make room and run again; the calls are kept"
        ) from None
    return header


def write_entries(path: str | os.PathLike[str], entries: Mapping[Digest, Mapping[str, Any]]) -> Header:
    """Write a journal's entries as a cassette.

    Raises
    ------
    InputError, EvalkitError
        As `write`.
    """
    rows = Rows()
    rows.add((key, entry.get("of", ""), write_row(key, entry)) for key, entry in entries.items())
    return write(Path(path), lambda: rows)


def _looked_over(path: Path, rows: Iterable[Row], refreshing: str) -> Header:
    """Look for secrets, count, and sum up."""
    secrets, state, kinds, number = Secrets.known(), hashlib.blake2b(digest_size=16), Counter[str](), 1
    for key, _, row in rows:
        number += 1
        state.update(row.encode() + b"\n")
        entry = entry_of(row)
        if found := secrets.in_text(row) and secrets.find(entry):
            field, what = found
            raise InputError(
                f"{path}: not written: line {number} (call {key}), {field}: holds {what}; "
                "take it out of the data or the server's answers; the calls stay in the store's journal"
            )
        kinds[str(kind_of(entry))] += 1
    return Header(number - 1, state.hexdigest(), kinds["call"], kinds["given up"], kinds["embedding"], refreshing)


def _umask() -> int:
    """The process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
