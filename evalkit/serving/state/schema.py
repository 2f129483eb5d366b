"""The tables of `SQLite`, and how its file is opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from evalkit.errors import EvalkitError
from evalkit.store.mounts import is_local

_FORMAT = 1
_MARK = 0x65766B73  # "evks", SQLite's place for saying whose file it is
_TABLES = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, space TEXT NOT NULL, key BLOB NOT NULL, made REAL NOT NULL, ttl REAL, tags TEXT NOT NULL,
    by BLOB NOT NULL, hits INTEGER NOT NULL, last_hit REAL, used INTEGER NOT NULL, size INTEGER NOT NULL,
    UNIQUE (space, key)
);
CREATE INDEX by_use ON entries (space, used);
CREATE TABLE contents (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE tags (space TEXT, tag BLOB, id INTEGER, PRIMARY KEY (space, tag, id)) WITHOUT ROWID;
CREATE INDEX by_entry ON tags (id);
CREATE TABLE spaces (space TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER came AFTER INSERT ON entries BEGIN
    INSERT INTO spaces VALUES (new.space, new.size)
        ON CONFLICT (space) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER went AFTER DELETE ON entries BEGIN
    DELETE FROM contents WHERE id = old.id;
    DELETE FROM tags WHERE id = old.id;
    UPDATE spaces SET bytes = bytes - old.size WHERE space = old.space;
END;
"""
# values lie apart: a hit rewrites an entry's row, and should not rewrite its value


def opened(path: Path, max_seconds: float) -> sqlite3.Connection:
    """Open a database, made where there is none; another process may be making it just now.

    Raises
    ------
    EvalkitError
        If it cannot be opened, or is another's.
    """
    until = time.monotonic() + max_seconds
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            connection = sqlite3.connect(path, timeout=max_seconds, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, path)
                return connection
            except BaseException as error:
                connection.close()
                busy = isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > until:
                    raise
            time.sleep(0.01)  # SQLite does not wait where another changes the way of journalling
    except (OSError, sqlite3.Error) as error:
        raise EvalkitError(f"SQLite: {path} cannot be opened ({error}); name another path") from None


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _refuse_others(connection, path)
    local = is_local(path.parent)  # a write-ahead log needs memory that a network share does not have
    connection.execute(f"PRAGMA journal_mode = {'WAL' if local else 'TRUNCATE'}")
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if local else 'FULL'}")
    connection.execute("BEGIN IMMEDIATE")
    if _is_empty(connection):
        for statement in _statements():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_MARK}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    _refuse_others(connection, path)
    connection.execute("COMMIT")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if _is_empty(connection) or (mark == _MARK and version == _FORMAT):
        return
    whose = "was written by another version of evalkit" if mark == _MARK else "holds something else than states"
    raise EvalkitError(f"SQLite: {path} {whose}; name another path")


def _statements() -> list[str]:
    """Return the statements one by one: a script would end the transaction."""
    statements, text = [], ""
    for line in _TABLES.splitlines():
        text += line + "\n"
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements
