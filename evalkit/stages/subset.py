"""A part of a table, named by positions in the whole one: what a filter leaves to be searched."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.values import Chunks, Table


@dataclass(frozen=True, eq=False)
class Positions(Table):
    """Rows of another table: int64 of shape (n,)."""

    values: Array


@dataclass(frozen=True)
class Subset:
    """The rows of a table that `Positions` name, in their order.

    The vectors of a subset of chunks are rows of all chunks' vectors, and `stages.embed.base.embedded` takes them
    so: no filter embeds a corpus again.
    """

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "filter"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, table: Table, kept: Positions) -> Table:
        """Take the rows."""
        return table.take(kept.values)


def rows_by_document(chunks: Chunks) -> dict[str, Array]:
    """Return the rows of every document's chunks, in order: int64 of shape (chunks,) each."""
    owners, found = list(chunks.document), dict[str, list[int]]()
    for name, rows in groupby(range(len(owners)), key=owners.__getitem__):
        found.setdefault(name, []).extend(rows)
    return {name: np.array(rows, dtype=np.int64) for name, rows in found.items()}
