"""Which chunk a result means that names a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from evalkit.columns import Array, Ragged, Strings
from evalkit.errors import InputError
from evalkit.stages.retrieve.hits import Hit
from evalkit.stages.subset import Subset, rows_by_document
from evalkit.types import Node
from evalkit.values import Chunks, Value


@dataclass(frozen=True, eq=False)
class DocumentChunks(Value):
    """Positions of each document's chunks (int64), in order; a document that a filter hides has none."""

    documents: Strings
    chunks: Ragged[Array]

    @cached_property
    def by_id(self) -> dict[str, int]:
        """Which row is a document's."""
        return {name: i for i, name in enumerate(self.documents)}


@dataclass(frozen=True)
class GroupByDocument:
    """Note which chunks are of which document; those of documents that only the whole corpus has are none."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, chunks: Chunks, whole: Chunks) -> DocumentChunks:
        """Look at every chunk once."""
        rows, names = rows_by_document(chunks), rows_by_document(whole)
        return DocumentChunks(Strings.of(names), Ragged.of([rows.get(name, ()) for name in names], np.int64))


def grouped(chunks: Node) -> Node:
    """Return the node of `DocumentChunks`; of a `Subset` of chunks, hidden documents are still known."""
    whole = chunks
    while isinstance(whole.op, Subset):
        whole = whole.inputs[0]
    return Node(GroupByDocument(), (chunks, whole))


def position(hit: Hit, places: DocumentChunks, chunks: Chunks) -> int | None:
    """Return the position of the chunk that a result means; None where a filter hides its document.

    Where its text stands in the document, the chunk that overlaps it most, the first of equals; else the document's
    first chunk.

    Raises
    ------
    InputError
        If no chunk is of that document.
    """
    row = places.by_id.get(hit.document)
    if row is None:
        raise InputError(f"gave the document '{hit.document}', of which there is no chunk; give ids of this data set")
    own: list[int] = places.chunks[row].tolist()
    if not own:
        return None
    start, end = _place(hit.text, own, chunks)
    return max(own, key=lambda i: min(end, int(chunks.end[i])) - max(start, int(chunks.start[i])) if end else 0)


def _place(text: str, own: Sequence[int], chunks: Chunks) -> tuple[int, int]:
    """Where a text stands in its document, blanks apart; (0, 0) if it does not.

    What no chunk holds of a document is blanks, so its chunks are all there is of it.
    """
    wanted = "".join(text.split())
    letters: list[str] = [""] * max(int(chunks.end[i]) for i in own)
    for i in own:
        letters[int(chunks.start[i]) : int(chunks.end[i])] = chunks.text[i]
    where = [i for i, letter in enumerate(letters) if letter and not letter.isspace()]
    at = "".join(letters[i] for i in where).find(wanted) if wanted else -1
    return (0, 0) if at < 0 else (where[at], where[at + len(wanted) - 1] + 1)
