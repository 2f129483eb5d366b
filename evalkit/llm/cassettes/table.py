"""Rows by key in a temporary database: as many as there are, in the memory that a few take."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evalkit.llm.cassettes.rows import entry_of
from evalkit.types import Digest

_AT_ONCE = 500  # SQLite limits the parameters of a statement

Row = tuple[Digest, str, str]
"""A row's key, the key of the call that it gave up (else empty), its text."""


class Rows:
    """Rows of text, safe for threads. SQLite keeps them in a file without a name, which goes with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._database.close)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, given_up TEXT, row TEXT NOT NULL)")
        self._database.execute("CREATE INDEX given_up ON rows (given_up) WHERE given_up != ''")

    def add(self, rows: Iterable[Row]) -> None:
        """Write rows; the last one of a key stays."""
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")

    def find(self, keys: Sequence[Digest]) -> dict[Digest, str]:
        """Return the rows of those of `keys` that there are."""
        found: dict[Digest, str] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, row FROM rows WHERE key IN ({marks})"  # noqa: S608 - question marks
            found.update(self._select(query, part))
        return found

    def recall(self, keys: Sequence[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the entries of those of `keys` that there are."""
        return {key: entry_of(row) for key, row in self.find(keys).items()}

    def given_up(self, key: Digest) -> dict[Digest, str]:
        """Return the rows of what was given up of a call."""
        return dict(self._select("SELECT key, row FROM rows WHERE given_up = ? AND given_up != ''", [key]))

    def scan(self, query: str, given: Mapping[str, object]) -> Iterator[Any]:
        """Yield what a query of SQLite's gives, row by row; nobody else may use the rows meanwhile."""
        with self._lock:
            yield from self._database.execute(query, given)

    def _select(self, query: str, given: Sequence[object]) -> list[tuple[Digest, str]]:
        with self._lock:
            return self._database.execute(query, given).fetchall()

    def __len__(self) -> int:
        with self._lock:
            return int(self._database.execute("SELECT COUNT(*) FROM rows").fetchone()[0])

    def __iter__(self) -> Iterator[Row]:
        """All rows in the order of their keys; others may write meanwhile."""
        last = ""
        while True:
            with self._lock:
                query = "SELECT key, given_up, row FROM rows WHERE key > ? ORDER BY key LIMIT ?"
                rows = self._database.execute(query, (last, _AT_ONCE)).fetchall()
            if not rows:
                return
            yield from rows
            last = rows[-1][0]
