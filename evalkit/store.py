"""One store, one journal.

The store keeps every node's result by *content* (``objects/``, one ``.safetensors`` file each) and, by *action*,
which content an op gave on which inputs (``actions/``, one small JSON file each). Beneath them lies the journal:
one row a model call, written at once, so that a kill of the process loses nothing that was paid for.

Files are written beside their place and moved into it, so a reader never sees half of one. An artefact's name is
the hash of what it holds; it is checked when a process first touches it, and one that fails is dropped, said, and
made anew.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from evalkit.columns import Array
from evalkit.errors import EvalkitError, InputError
from evalkit.types import Digest, Origin
from evalkit.values import FORMAT, Value, content_digest, kinds

log = logging.getLogger("evalkit")

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "U16": "<u2", "U32": "<u4", "U64": "<u8",
}  # fmt: skip


class CorruptArtefact(EvalkitError):
    """A stored file does not hold what its name says."""


class DiskStore:
    """A store in a folder.

    Parameters
    ----------
    folder : path
        Created where it is missing.

    Raises
    ------
    InputError
        If the folder cannot be created or written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            for part in ("objects", "actions"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise InputError(
                f"store {self.folder}: cannot be written ({error.strerror}); set EVALKIT_STORE to another folder"
            ) from None
        self._journal = Journal(self.folder / "journal.sqlite")
        self._whole: set[Digest] = set()
        self._loaded: weakref.WeakValueDictionary[Digest, Value] = weakref.WeakValueDictionary()

    def __reduce__(self) -> tuple[type[DiskStore], tuple[Path]]:
        return DiskStore, (self.folder,)

    def get(self, action: Digest) -> tuple[Digest, Origin] | None:
        """Return the content and origin of an action's result, if it is there and whole."""
        try:
            entry = json.loads(self._action(action).read_bytes())
            content, origin = str(entry["content"]), entry["origin"]
            if entry.get("format") == FORMAT and origin not in get_args(Origin):
                raise ValueError(origin)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            log.warning("store: action %s is unreadable and is worked out anew", action)
            return None
        if entry.get("format") != FORMAT or not self._is_whole(content):
            return None
        return content, cast("Origin", origin)

    def put(self, action: Digest, value: Value, origin: Origin, note: Mapping[str, Any]) -> Digest:
        """Keep `value` as the result of `action`."""
        content = self.add(value)
        entry = {"format": FORMAT, "content": content, "origin": origin, **note}
        _replace(self._action(action), json.dumps(entry, sort_keys=True).encode())
        return content

    def add(self, value: Value) -> Digest:
        """Keep an input."""
        from safetensors.numpy import save

        content = value.digest
        if not self._is_whole(content):
            kind = {"kind": type(value).__name__, "format": str(FORMAT)}
            _replace(self._object(content), save(value.arrays(), metadata=kind))
            self._whole.add(content)
        self._loaded[content] = value
        return content

    def load(self, content: Digest) -> Value:
        """Read a value; its arrays are views of the file, not copies.

        Raises
        ------
        CorruptArtefact
            If the file is missing or does not hold what its name says.
        """
        value = self._loaded.get(content)
        if value is None:
            if not self._is_whole(content):
                raise CorruptArtefact(f"{self._object(content)}: missing, damaged or of an unknown kind")
            kind, arrays = _open(self._object(content))
            value = kinds()[kind].from_arrays(arrays)
            self._loaded[content] = value
        return value

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the journal's entries for those of `keys` that it has."""
        return self._journal.recall(keys)

    def record(self, key: Digest, entry: Mapping[str, Any]) -> None:
        """Write one entry into the journal."""
        self._journal.record_all({key: entry})

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        """Write entries into the journal in one step."""
        self._journal.record_all(entries)

    def _is_whole(self, content: Digest) -> bool:
        path = self._object(content)
        if not path.exists():
            return False
        if content in self._whole:
            return True
        try:
            kind, arrays = _open(path)
            if kind not in kinds():  # a component's own kind, its module not imported yet
                return False
            if content_digest(kind, arrays) != content:
                raise CorruptArtefact(f"{path}: content does not match its name")
        except CorruptArtefact as error:
            log.warning("store: %s; it is made anew", error)
            path.unlink(missing_ok=True)
            return False
        self._whole.add(content)
        return True

    def _object(self, content: Digest) -> Path:
        return self.folder / "objects" / content[:2] / f"{content}.safetensors"

    def _action(self, action: Digest) -> Path:
        return self.folder / "actions" / action[:2] / f"{action}.json"


class Journal:
    """Rows by key in SQLite: written once, safe from a kill at once and for several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the entries of those of `keys` that were recorded."""
        found: dict[Digest, dict[str, Any]] = {}
        for start in range(0, len(keys), 500):  # SQLite limits the parameters of a statement
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, entry FROM journal WHERE key IN ({marks})"  # noqa: S608 - question marks only
            with self._lock:
                rows = self._connection().execute(query, part).fetchall()
            found.update({key: made for key, entry in rows if (made := _entry(key, entry)) is not None})
        return found

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        """Write entries in one transaction; the first one of a key stays."""
        rows = [(key, json.dumps(entry, sort_keys=True, ensure_ascii=False)) for key, entry in entries.items()]
        with self._lock, self._connection() as connection:
            connection.executemany("INSERT OR IGNORE INTO journal VALUES (?, ?)", rows)

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._opened = self._open()
            except sqlite3.OperationalError as error:
                raise EvalkitError(f"{self.path}: cannot be opened ({error}); set EVALKIT_STORE elsewhere") from None
            except sqlite3.DatabaseError as error:  # it may hold paid calls: kept for whoever can mend it
                aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
                os.replace(self.path, aside)
                log.warning("store: %s is damaged (%s); set aside as %s and begun anew", self.path, error, aside.name)
                self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
        weakref.finalize(self, connection.close)  # Python 3.13 warns of connections left open
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS journal (key TEXT PRIMARY KEY, entry TEXT NOT NULL)")
        return connection


def _entry(key: Digest, text: str) -> dict[str, Any] | None:
    """Read a journal row; None for a damaged one, whose call is then made again."""
    try:
        entry = json.loads(text)
    except (TypeError, ValueError):
        entry = None
    if not isinstance(entry, dict):
        log.warning("store: the journal's entry %s is unreadable; its call is made again", key)
        return None
    return entry


def _replace(path: Path, data: bytes) -> None:
    """Write a file in one step: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)  # no fsync: what a power cut leaves torn, the checksum finds
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _open(path: Path) -> tuple[str, dict[str, Array]]:
    """Map a ``.safetensors`` file: 8 bytes header length, JSON header, arrays (the format's own definition)."""
    try:
        raw = np.memmap(path, dtype=np.uint8, mode="r")
        start = 8 + int(raw[:8].view("<u8")[0])
        header = json.loads(bytes(raw[8:start]))
        note = header.pop("__metadata__")
        if note["format"] != str(FORMAT):
            raise CorruptArtefact(f"{path}: format {note['format']}, this version reads {FORMAT}")
        kind, arrays = str(note["kind"]), dict[str, Array]()
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            data = np.ndarray.view(raw[start + begin : start + end], np.ndarray)
            arrays[name] = data.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CorruptArtefact(f"{path}: not a whole artefact ({type(error).__name__})") from None
    return kind, arrays
