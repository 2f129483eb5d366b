"""What a user named, and what a format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from evalkit.datasets.dataset import Dataset


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

    def cut(self, data: Dataset) -> Dataset:
        """Return the split that was asked for: of records that say theirs."""
        return data.split(self.split) if self.split else data


class Format(NamedTuple):
    """A way in.

    Parameters
    ----------
    looks : str
        What it looks like from outside, for the error that lists all formats.
    fits : function
        Whether a source is of this format, by its names alone: nothing is read yet.
    read : function
        Read it whole, checked; it takes ``source.split`` and ``source.columns`` into account.
    """

    looks: str
    fits: Callable[[Source], bool]
    read: Callable[[Source], Dataset]
