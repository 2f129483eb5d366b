"""The journal: one row a model call, written at once, so that a kill loses nothing that was paid for."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, InputError
from evalkit.store.mounts import is_local
from evalkit.types import Digest

log = logging.getLogger("evalkit")

_WAIT = 60.0
_TABLE = "CREATE TABLE IF NOT EXISTS journal (key TEXT PRIMARY KEY, entry TEXT NOT NULL)"
_ANY_TABLE = "SELECT 1 FROM sqlite_master"
_SUM = '{"#": "'
_CANNOT_WRITE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Journal:
    """Rows by key in SQLite: the first one of a key stays.

    A row that `record_all` has written survives a kill of the process. What a power cut may cost depends on the
    file system. On one of this machine's own, SQLite keeps a write-ahead log: the last rows may be lost, never the
    database. That log needs memory shared by all who have the database open, so on a network share, and where the
    kind of file system cannot be told, it is not used: a rollback journal, locks of the file system (it must have
    them: NFS 4, SMB) and a wait for the disk at every write make each row as safe as the share is. Whoever finds a
    write-ahead log in a journal on a share turns it off, or says that it cannot while its machine uses it.

    Several may write at once: one waits for another, for a minute at most. A journal that cannot be written is read.

    Parameters
    ----------
    path : Path
        Of the database; made when the first row is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the entries of those of `keys` that were recorded."""
        found: dict[Digest, dict[str, Any]] = {}
        for start in range(0, len(keys), 500):  # SQLite limits the parameters of a statement
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, CAST(entry AS BLOB) FROM journal WHERE key IN ({marks})"  # noqa: S608 - question marks
            with self.reading() as connection:
                rows = connection.execute(query, part).fetchall() if connection else []
            for key, row in rows:
                if (entry := read_row(key, row)) is not None:
                    found[key] = entry
                else:
                    log.warning("store: the journal's entry %s is unreadable; its call is made again", key)
        return found

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        """Write entries in one transaction; the first one of a key stays.

        Raises
        ------
        InputError
            If the folder may not be written to.
        EvalkitError
            If the disk is full, the journal damaged, or held by another process for a minute.
        """
        self.insert([(key, write_row(key, entry)) for key, entry in entries.items()])

    def insert(self, rows: Sequence[tuple[Digest, str]]) -> int:
        """Write rows as they are, in one transaction; returns how many of them were new."""
        with self.writing() as connection:
            return connection.executemany("INSERT OR IGNORE INTO journal VALUES (?, ?)", rows).rowcount

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the database for one transaction."""
        with self._lock, self._told():
            if self._writer is None:
                self._writer = self._open_or_begin_anew()
            with self._writer:
                yield self._writer

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Hold the database to read; None where nothing was ever recorded."""
        with self._lock, self._told():
            yield self._writer or self._reader or self._open_to_read()

    def close(self) -> None:
        """Close the database; it is opened again when it is needed."""
        with self._lock:
            for connection in (self._writer, self._reader):
                if connection is not None:
                    connection.close()
            self._writer = self._reader = None

    def set_aside(self) -> Path:
        """Move a damaged database out of the way: it may hold paid calls, and stays for whoever can mend it."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("", "-wal"):
            if (part := Path(f"{self.path}{suffix}")).exists():
                os.replace(part, f"{aside}{suffix}")
        Path(f"{self.path}-shm").unlink(missing_ok=True)
        return aside

    def _open_to_read(self) -> sqlite3.Connection | None:
        if not self.path.exists():
            return None
        if os.access(self.path.parent, os.W_OK):
            try:
                self._writer = self._open_or_begin_anew()
                return self._writer
            except sqlite3.OperationalError as error:
                if _code(error) not in _CANNOT_WRITE:
                    raise
        reader = self._open_what_nobody_writes()
        if not reader.execute(_ANY_TABLE).fetchone():  # the disk was full when it was to be made
            return None
        self._reader = reader
        return reader

    def _open_or_begin_anew(self) -> sqlite3.Connection:
        until = time.monotonic() + _WAIT
        try:
            while True:
                try:
                    return self._open()
                except sqlite3.OperationalError as error:  # SQLite does not wait for another that makes it just now
                    if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                    time.sleep(0.02)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = self.set_aside()
            log.warning("store: %s is damaged (%s); set aside as %s and begun anew", self.path, error, aside.name)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = self._connect(f"{self.path.absolute().as_uri()}?mode=rwc")
        ahead = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        local = is_local(self.path.parent)
        if not connection.execute(_ANY_TABLE).fetchone():
            connection.execute(f"PRAGMA journal_mode={'WAL' if local else 'TRUNCATE'}")
            connection.execute(_TABLE)
        elif ahead and not local:
            try:
                connection.execute("PRAGMA journal_mode=TRUNCATE")
            except sqlite3.OperationalError:
                raise EvalkitError(
                    f"{self.path}: lies on a network share, but a run on the share's own machine uses it in a way "
                    "that cannot be shared; let that run end, then go on here"
                ) from None
        ahead = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        connection.execute(f"PRAGMA synchronous={'NORMAL' if ahead else 'FULL'}")
        return connection

    def _open_what_nobody_writes(self) -> sqlite3.Connection:
        """Open a database that this process cannot write: in place, or a copy of it where its log is to be read."""
        log_left = Path(f"{self.path}-wal")
        if not log_left.exists() or not log_left.stat().st_size:
            return self._connect(f"{self.path.absolute().as_uri()}?immutable=1")
        folder = Path(tempfile.mkdtemp(prefix="evalkit-journal-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for path in (self.path, log_left):
            shutil.copy(path, folder)
        return self._connect((folder / self.path.name).as_uri())

    def _connect(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=_WAIT, check_same_thread=False)
        weakref.finalize(self, connection.close)  # Python 3.13 warns of connections left open
        connection.text_factory = lambda raw: raw.decode(errors="replace")  # a damaged key is no key of anybody's
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what SQLite could not do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code in _DAMAGED:
                todo = "evalkit store verify --repair keeps the rows that can be read"
            elif code == sqlite3.SQLITE_READONLY or not os.access(self.path.parent, os.W_OK):
                raise InputError(
                    f"{self.path}: cannot be written ({error}), and this has to be; "
                    "set EVALKIT_STORE to another folder"
                ) from None
            elif code == sqlite3.SQLITE_BUSY:
                todo = "another process has held it for a minute; run again to go on"
            else:
                todo = "make room or set EVALKIT_STORE to another folder, and run again to go on"
            raise EvalkitError(f"{self.path}: cannot be used ({error}); {todo}") from None


def write_row(key: Digest, entry: Mapping[str, Any]) -> str:
    """Return a row's text: the entry as JSON, and before its first name the checksum, under a name of its own."""
    text = json.dumps(entry, sort_keys=True, ensure_ascii=False)
    return f'{_SUM}{_sum(key, text.encode())}", {text[1:]}'


def read_row(key: Digest, row: Any) -> dict[str, Any] | None:
    """Read a row's bytes; None for a damaged one. Rows written by earlier versions have no checksum."""
    try:
        text = bytes(row)
        if text.startswith(_SUM.encode()):
            found, _, rest = text[len(_SUM) :].partition(b'", ')
            text = b"{" + rest
            if found.decode() != _sum(key, text):
                return None
        entry = json.loads(text)
    except (TypeError, ValueError):
        return None
    return entry if isinstance(entry, dict) else None


def _sum(key: Digest, text: bytes) -> str:
    return hashlib.blake2b(key.encode(errors="surrogatepass") + b"\0" + text, digest_size=8).hexdigest()


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
