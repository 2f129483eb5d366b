"""A SQLite database for MLflow: made whole or not at all, one writer at a time, and quick."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite database; None for anything else."""
    found = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return Path(found[1]).absolute() if found and found[1] != ":memory:" else None


@contextmanager
def alone(database: Path, initialise: Callable[[str], Any]) -> Iterator[None]:
    """Hold a database that can be written for this process alone; make it where it is missing.

    Parameters
    ----------
    database : Path
    initialise : function
        Makes the tables of the database at an address.

    Raises
    ------
    OSError, sqlite3.Error
        If it cannot be made or written. SQLite is asked, because MLflow would try again for minutes.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            _make(database, initialise)
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
            ahead = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        # With a write-ahead log, a power failure can cost the last runs logged, but never the database.
        with _connections(database, "NORMAL" if ahead else "FULL"):
            yield


def _make(database: Path, initialise: Callable[[str], Any]) -> None:
    """Make a database under another name and move it: MLflow cannot mend one whose making was cut short."""
    for leftover in database.parent.glob(f".{database.name}.*.part*"):
        leftover.unlink()
    # A new name each time: MLflow remembers in which databases it has made its tables.
    part = database.with_name(f".{database.name}.{uuid4().hex}.part")
    with _connections(part, "OFF"):
        initialise(f"sqlite:///{part}")
    with closing(sqlite3.connect(part)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(database)


@contextmanager
def _connections(database: Path, synchronous: str) -> Iterator[None]:
    """Set how often SQLAlchemy's connections wait for the disk, and close them in the end.

    A connection left open would outlive a database that is deleted, and write into the void.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    engines: set[Engine] = set()

    def opened(connection: Connection) -> None:
        if connection.engine.url.database == str(database):
            engines.add(connection.engine)
            raw: Any = connection.connection.dbapi_connection
            raw.execute(f"PRAGMA synchronous = {synchronous}")

    event.listen(Engine, "engine_connect", opened)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", opened)
        for engine in engines:
            engine.dispose()
