"""Entries in one SQLite file: they outlive the process, and several processes share them."""

from __future__ import annotations

import json
import logging
import sqlite3
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from evalkit.errors import InputError
from evalkit.paths import resolve
from evalkit.served import Serving
from evalkit.serving.state.base import Entry
from evalkit.serving.state.memory import counted
from evalkit.serving.state.schema import opened

T = TypeVar("T")

log = logging.getLogger("evalkit")

ENTRY, TAG = 384, 192
"""Bytes that SQLite's tables and indexes need for an entry, and for each of its tags, beside what it holds."""

_PAGE = 256
_NONE: list[tuple[Any, ...]] = []
_FROM = "FROM entries JOIN contents USING (id) WHERE"
_COLUMNS = "value, made, ttl, tags, by, hits, last_hit"
_GET = f"SELECT {_COLUMNS} {_FROM} space = ? AND key = ?"
_LIVE = "space = :space AND made <= :now AND (ttl IS NULL OR :now - made < ttl)"
_FIRST, _NEXT = (
    f"SELECT {_COLUMNS}, key {_FROM} {_LIVE} AND key {beyond} :after ORDER BY key LIMIT {_PAGE}"
    for beyond in (">=", ">")
)
_HIT = "UPDATE entries SET hits = hits + 1, last_hit = ?, used = ? WHERE space = ? AND key = ?"
_EXPIRE = "DELETE FROM entries WHERE space = ? AND key = ? AND made = ?"  # not what another process has put since
_TAGGED = "id IN (SELECT id FROM tags WHERE tags.space = entries.space AND tag = ?)"


@dataclass(frozen=True)
class SQLite:
    """Keeps entries in a file of this machine; the one that was used last of all goes when there is no more room.

    What `put` has written is there whole after a kill of the process; a power cut may cost the last ones. Several
    processes may use one file. Looking up takes some 30 microseconds and putting a few hundred, hardly more than a
    thread needs to take work over; so both run on the event loop, one whole after the other, and take no virtual
    time, which keeps a replay the same in every run.
    An entry counts as its key, value, tags and maker, 384 bytes for itself and 192 for every tag. Every space has its
    own bound; a file does not shrink, its free pages are used again.

    Parameters
    ----------
    path : str
        Of the database; a relative one starts at the project's root. It is made on first use. No part of the
        identity.
    max_bytes : int
        Default 1 GB.
    max_seconds : float
        For which a statement waits for another process to end its own; then the entry is not there, or not kept.
    """

    path: str = ".evalkit/state.sqlite"
    max_bytes: int = 1_000_000_000
    max_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.path.strip() or "\0" in self.path:
            raise InputError("SQLite: path names no file; give one such as .evalkit/state.sqlite")
        if self.max_bytes < 1 or not 0 <= self.max_seconds < float("inf"):
            raise InputError("SQLite: max_bytes must be at least 1, and max_seconds a number of at least 0")

    def identity(self) -> dict[str, Any]:
        """Return what the storage is, wherever it lies."""
        return {"path": None}

    def open(self, space: str, serving: Serving) -> SQLiteState:
        """Return the state of one space; the file is opened on first use."""
        return SQLiteState(self, space, serving)


class SQLiteState:
    """See `SQLite`. Every operation is one step of the event loop, and one transaction.

    Raises
    ------
    EvalkitError
        By the first operation, if the file cannot be opened or holds something else. What goes wrong later is
        counted (``errors``): the state is then as if it were empty.
    """

    def __init__(self, storage: SQLite, space: str, serving: Serving) -> None:
        self.counts: Counter[str] = Counter()
        self._storage, self._space, self._now = storage, space, serving.now
        self._connection: sqlite3.Connection | None = None

    async def get(self, key: str) -> Entry | None:
        """Return what is kept, if it is alive."""
        where = (self._space, _raw(key))
        found = self._ask(lambda database: database.execute(_GET, where).fetchone(), None)
        if found is not None:
            entry, now = _entry(found), self._now()
            if entry.alive(now):
                self.counts["hits"] += 1
                return entry
            if entry.made <= now:  # what another calendar calls the future is left to whoever lives there
                self._write(lambda database: database.execute(_EXPIRE, (*where, entry.made)), None)
                self.counts["expired"] += 1
        self.counts["misses"] += 1
        return None

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an entry in the place of what was there; one larger than the bound is not kept."""
        size = counted(key, entry, ENTRY, TAG)

        def work(database: sqlite3.Connection) -> None:
            self._remove(database, "key = ?", _raw(key))
            if size <= self._storage.max_bytes:
                self._insert(database, key, entry, size)
                self._make_room(database)
                self.counts["puts"] += 1

        self._write(work, None)

    async def hit(self, key: str, now: float) -> None:
        """Count that an entry was given; it is then the one that was used last."""
        self._write(
            lambda database: database.execute(_HIT, (now, self._next(database), self._space, _raw(key))), None
        )

    async def delete(self, key: str) -> bool:
        """Drop an entry; whether there was one."""
        return self._write(lambda database: self._remove(database, "key = ?", _raw(key)), 0) > 0

    async def drop(self, tag: str) -> int:
        """Drop every entry with a tag; how many."""
        return self._write(lambda database: self._remove(database, _TAGGED, _raw(tag)), 0)

    async def clear(self) -> int:
        """Drop everything in this space, and nothing else; how many."""
        return self._write(lambda database: self._remove(database, "?", 1), 0)

    async def items(self) -> AsyncIterator[tuple[str, Entry]]:
        """Go through what is alive, in the order of the keys; in pages, so that no other process waits."""
        query, after = _FIRST, b""
        while True:
            given = {"space": self._space, "now": self._now(), "after": after}
            rows = self._ask(partial(_page, query=query, given=given), _NONE)
            for row in rows:
                yield _text(row[-1]), _entry(row[:-1])
            if len(rows) < _PAGE:
                return
            query, after = _NEXT, rows[-1][-1]

    async def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _remove(self, database: sqlite3.Connection, which: str, value: bytes | int | str) -> int:
        return database.execute(
            f"DELETE FROM entries WHERE space = ? AND {which}",  # noqa: S608 - our own texts
            (self._space, value),
        ).rowcount

    def _next(self, database: sqlite3.Connection) -> int:
        """Return a number above every use so far: an order that processes share without a clock."""
        found = database.execute("SELECT max(used) FROM entries WHERE space = ?", (self._space,)).fetchone()[0]
        return 0 if found is None else int(found) + 1

    def _insert(self, database: sqlite3.Connection, key: str, entry: Entry, size: int) -> None:
        tags = json.dumps(entry.tags)
        facts = (entry.made, entry.ttl, tags, _raw(entry.by), entry.hits, entry.last_hit)
        number = database.execute(
            "INSERT INTO entries (space, key, made, ttl, tags, by, hits, last_hit, used, size) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self._space, _raw(key), *facts, self._next(database), size),
        ).lastrowid
        database.execute("INSERT INTO contents VALUES (?, ?)", (number, entry.value))
        if entry.tags:
            rows = [(self._space, _raw(tag), number) for tag in dict.fromkeys(entry.tags)]
            database.executemany("INSERT INTO tags VALUES (?, ?, ?)", rows)

    def _make_room(self, database: sqlite3.Connection) -> None:
        while self._bytes(database) > self._storage.max_bytes:
            oldest = "id = (SELECT id FROM entries WHERE space = ? ORDER BY used LIMIT 1)"
            self.counts["evictions"] += self._remove(database, oldest, self._space)

    def _bytes(self, database: sqlite3.Connection) -> int:
        row = database.execute("SELECT bytes FROM spaces WHERE space = ?", (self._space,)).fetchone()
        return int(row[0]) if row else 0

    def _ask(self, question: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Ask the database; what it cannot do is counted, and not done."""
        if self._connection is None:
            self._connection = opened(resolve(self._storage.path), self._storage.max_seconds)
            weakref.finalize(self, self._connection.close)
        try:
            return question(self._connection)
        except sqlite3.Error as error:
            self.counts["errors"] += 1
            if self.counts["errors"] == 1:
                log.warning("SQLite: %s: %s; goes on without", self._storage.path, error)
            return otherwise

    def _write(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do something in one transaction."""

        def whole(database: sqlite3.Connection) -> T:
            database.execute("BEGIN IMMEDIATE")
            before = self.counts.copy()
            try:
                made = work(database)
                self.counts["bytes"] = self._bytes(database)
                database.execute("COMMIT")
                return made
            except BaseException:
                self.counts.clear()  # what was not done is not counted
                self.counts.update(before)
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

        return self._ask(whole, otherwise)


def _page(database: sqlite3.Connection, query: str, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    return database.execute(query, given).fetchall()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _entry(row: tuple[Any, ...]) -> Entry:
    value, made, ttl, tags, by, hits, last_hit = row
    return Entry(value, made, ttl, tuple(json.loads(tags)), _text(by), hits, last_hit)
