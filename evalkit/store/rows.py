"""Looking after the journal: how much there is, which rows are damaged, what can be saved of a damaged database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from evalkit.store.journal import Journal, read_row
from evalkit.types import Digest

_AT_ONCE = 1000


def size(journal: Journal) -> int:
    """Return the bytes that the journal takes, its log included."""
    files = [Path(f"{journal.path}{suffix}") for suffix in ("", "-wal")]
    return sum(path.stat().st_size for path in files if path.exists())


def count(journal: Journal) -> int:
    """Return the number of rows.

    Raises
    ------
    EvalkitError
        If the database is damaged.
    """
    with journal.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0]) if connection else 0


def batches(journal: Journal) -> Iterator[list[tuple[Digest, bytes]]]:
    """Yield all rows as (key, bytes), in the order of their keys, some at once; others may write between.

    Raises
    ------
    EvalkitError
        If the database is damaged.
    """
    last, query = "", "SELECT key, CAST(entry AS BLOB) FROM journal WHERE key >= ? ORDER BY key LIMIT ?"
    while True:
        with journal.reading() as connection:
            found = connection.execute(query, (last, _AT_ONCE + 1)).fetchall() if connection else []
        if found[:_AT_ONCE]:
            yield found[:_AT_ONCE]
        if len(found) <= _AT_ONCE:
            return
        last = found[_AT_ONCE][0]


def damage(journal: Journal) -> str | None:
    """Say what is wrong with the database as such; None where all is well.

    Raises
    ------
    EvalkitError
        If it cannot even be asked.
    """
    with journal.reading() as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0] if connection else "ok"
    return None if found == "ok" else str(found).replace("\n", " ")


def unreadable(journal: Journal) -> list[Digest]:
    """Return the keys of rows whose entry cannot be read."""
    return [key for rows in batches(journal) for key, row in rows if read_row(key, row) is None]


def drop(journal: Journal, keys: list[Digest]) -> None:
    """Delete rows."""
    with journal.writing() as connection:
        connection.executemany("DELETE FROM journal WHERE key = ?", [(key,) for key in keys])


def trim(journal: Journal, limit: int) -> int:
    """Delete the rows that were written first until the journal fits into `limit` bytes; returns how many.

    Raises
    ------
    EvalkitError
        If another process holds the journal for a minute.
    """
    excess, dropped = size(journal) - limit, 0
    if excess <= 0:
        return 0
    with journal.writing() as connection:
        last = None
        # A key stands in the table and in its index.
        for row, taken in connection.execute(
            "SELECT rowid, 2 * length(CAST(key AS BLOB)) + length(CAST(entry AS BLOB)) FROM journal ORDER BY rowid"
        ):
            if excess <= 0:
                break
            last, excess, dropped = row, excess - taken, dropped + 1
        if last is not None:
            connection.execute("DELETE FROM journal WHERE rowid <= ?", (last,))
    with journal.writing() as connection:
        connection.commit()
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return dropped


def salvage(journal: Journal) -> tuple[int, Path]:
    """Set a damaged database aside, and begin anew with the rows that can be read.

    Returns
    -------
    (int, Path)
        How many rows were saved, and where the damaged database lies now.
    """
    journal.close()
    aside, saved = journal.set_aside(), 0
    damaged = sqlite3.connect(aside)
    damaged.text_factory = lambda raw: raw.decode(errors="replace")
    try:
        whole = ((key, row.decode()) for key, row in _readable(damaged) if read_row(key, row) is not None)
        while some := list(islice(whole, _AT_ONCE)):
            saved += journal.insert(some)
    finally:
        damaged.close()
    return saved, aside


def _readable(damaged: sqlite3.Connection) -> Iterator[tuple[Any, Any]]:
    """Yield the rows that can be reached: from the front, from the back, and one by one between."""
    query = "SELECT rowid, key, CAST(entry AS BLOB) FROM journal"
    reached = [0]
    with suppress(sqlite3.DatabaseError):
        for number, key, entry in damaged.execute(f"{query} ORDER BY rowid"):
            reached.append(number)
            yield key, entry
        return
    first, reached = reached[-1], [0]
    with suppress(sqlite3.DatabaseError):
        for number, key, entry in damaged.execute(f"{query} ORDER BY rowid DESC"):
            reached.append(number)
            yield key, entry
    for number in range(first + 1, reached[-1]):
        with suppress(sqlite3.DatabaseError):
            for _, key, entry in damaged.execute(f"{query} WHERE rowid = ?", (number,)):
                yield key, entry
