"""A cassette in use: indexed once, then asked by key."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import InputError
from evalkit.llm.cassettes.reading import header_of, read
from evalkit.llm.cassettes.rows import Header, entry_of
from evalkit.llm.cassettes.table import Row, Rows
from evalkit.types import Digest

_KEPT = 2
_indexed: OrderedDict[str, tuple[Header, Rows]] = OrderedDict()
_one_at_a_time = threading.Lock()


class Cassette:
    """What a file of recorded calls holds, by key.

    The file is read and checked once a process, as long as its content stays, into a temporary database: a hundred
    thousand calls take no more memory than one. Safe for threads.

    Parameters
    ----------
    path : path
    header : Header
    rows : Rows
    """

    def __init__(self, path: Path, header: Header, rows: Rows) -> None:
        self.path, self.header, self.rows = path, header, rows

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Cassette:
        """Read a file.

        Raises
        ------
        InputError
            If there is no such file, or it is of a later format, cut or damaged.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").hexdigest()
        except FileNotFoundError:
            raise InputError(f"{path}: no such cassette; record it first (--cassette-mode record)") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        with _one_at_a_time:
            if content not in _indexed:
                rows = Rows()
                rows.add(_rows_of(path))
                _indexed[content] = header_of(path), rows
                while len(_indexed) > _KEPT:
                    _indexed.popitem(last=False)
            _indexed.move_to_end(content)
            return cls(path, *_indexed[content])

    @property
    def content(self) -> Digest:
        """Hash of all that is recorded, wherever the file lies and however it is compressed."""
        return self.header.sum

    def recall(self, keys: Sequence[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the journal's entries of those of `keys` that were recorded."""
        return self.rows.recall(keys)

    def given_up(self, key: Digest) -> dict[str, Any] | None:
        """Return what is recorded of a call without a whole answer: the last part of one, else the last failure."""
        entries = {name: entry_of(row) for name, row in self.rows.given_up(key).items()}
        if not entries:
            return None
        best = max(entries, key=lambda name: ("error" not in entries[name], entries[name].get("when", ""), name))
        return entries[best]


def _rows_of(path: Path) -> Iterator[Row]:
    for key, entry, line in read(path):
        yield key, entry.get("of", ""), line.decode()
