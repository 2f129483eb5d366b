"""What a user named, and what a format is."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import READERS, json_lines
from evalkit.datasets.rows import Faults
from evalkit.errors import nearest

_PEEK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A data set as a user names it.

    Parameters
    ----------
    text : str
        As it was given.
    scheme, name : str
        Of ``scheme:name``; the scheme is empty for a path.
    path : Path
        The folder or file; it need not exist.
    split : str or None
    columns : {name here: name in the data}
    """

    text: str
    scheme: str
    name: str
    path: Path
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def holds(self, name: str) -> bool:
        """Whether the folder holds a file of this name."""
        return not self.scheme and (self.path / name).is_file()

    def keys(self) -> tuple[str, ...]:
        """Names of the columns of the first record of a CSV, JSON, JSON Lines or Parquet file; it is not read whole.

        Empty where there is no such file or it cannot be read: reading it tells why.
        """
        return self._keys

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        if self.scheme or self.path.suffix.lower() not in READERS or not self.path.is_file():
            return ()
        try:
            return tuple(_PEEKS[self.path.suffix.lower()](self.path))
        except (OSError, ValueError, RecursionError, csv.Error):
            return ()

    def match(self, names: Mapping[str, Sequence[str]], keys: Iterable[str], faults: Faults) -> dict[str, str]:
        """Tell which of the data's columns is which: as ``source.columns`` says, else by name.

        Parameters
        ----------
        names : {name here: other names it goes by}
            Of several that are there, the first counts; capitals, spaces and underscores do not.
        keys : iterable of str
            The data's columns.
        faults : Faults
            Told of what ``source.columns`` names and is not there.

        Returns
        -------
        {name here: name in the data}
        """
        known = list(keys)
        free = {_folded(key): key for key in reversed(known) if key not in self.columns.values()}
        found = {}
        for here, others in names.items():
            named = [free[_folded(name)] for name in (here, *others) if _folded(name) in free]
            if here in self.columns:
                found[here] = self.columns[here]
            elif named:
                found[here] = named[0]
        for here, there in self.columns.items():
            if here not in names:
                faults.add(self.text, f"columns: '{here}' is not known here{nearest(here, names)}")
            elif there not in known:
                faults.add(self.text, f"no column '{there}' for '{here}'{nearest(there, known)}")
        return found

    def cut(self, data: Dataset) -> Dataset:
        """Return the split that was asked for: of records that say theirs."""
        return data.split(self.split) if self.split else data


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _csv_keys(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return [cell.strip() for cell in next(csv.reader(file), ())]


def _list_keys(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        start = file.read(_PEEK).lstrip()
    first: Any = json.JSONDecoder().raw_decode(start[1:].lstrip())[0] if start.startswith("[") else None
    return list(first) if isinstance(first, dict) else []


def _lines_keys(path: Path) -> list[str]:
    return next((list(row.data) for row in json_lines(path, Faults())), [])


def _parquet_keys(path: Path) -> list[str]:
    from pyarrow.parquet import read_schema  # its errors are a ValueError or an OSError

    return list(read_schema(path).names)


_PEEKS: dict[str, Callable[[Path], list[str]]] = {
    ".csv": _csv_keys,
    ".json": _list_keys,
    ".jsonl": _lines_keys,
    ".parquet": _parquet_keys,
}


class Format(NamedTuple):
    """A way in.

    Parameters
    ----------
    looks : str
        What it looks like from outside, for the error that lists all formats.
    fits : function
        Whether a source is of this format, by its names and at most its first record.
    read : function
        Read it whole, checked; it takes ``source.split`` and ``source.columns`` into account.
    """

    looks: str
    fits: Callable[[Source], bool]
    read: Callable[[Source], Dataset]
