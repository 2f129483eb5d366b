"""Documents as they stream in: a large corpus is held once as bytes, not as Python objects."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from evalkit.columns import Strings
from evalkit.values import Documents


class Texts:
    """A column of texts that grows: the bytes of all of them, held once, and where each ends."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])

    def add(self, text: str) -> None:
        """Add one text at the end."""
        self._bytes += text.encode(errors="surrogatepass")  # a path may hold what is no UTF-8
        self._ends.append(len(self._bytes))

    def __getitem__(self, row: int) -> str:
        return self._bytes[self._ends[row] : self._ends[row + 1]].decode(errors="surrogatepass")

    def take(self, order: Sequence[int]) -> Strings:
        """Return the texts in another order."""
        view, ends = memoryview(self._bytes), self._ends
        joined = b"".join([view[ends[row] : ends[row + 1]] for row in order])
        offsets = np.zeros(len(ends), dtype=np.int64)
        np.cumsum(np.diff(ends)[order], out=offsets[1:])
        return Strings(np.frombuffer(joined, dtype=np.uint8), offsets)


class Corpus:
    """Documents in columns that grow, and what other records are checked against: ids, sizes and places."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._sizes = array("q")
        self._titles, self._texts, self._metadata, self._places = Texts(), Texts(), Texts(), Texts()

    def add(self, where: str, name: str, title: str, text: str, metadata: str) -> None:
        """Add a document of a new id."""
        self._rows[name] = len(self._rows)
        self._sizes.append(len(text))
        self._titles.add(title)
        self._texts.add(text)
        self._metadata.add(metadata)
        self._places.add(where)

    def refuse(self, where: str, name: str) -> None:
        """Note a document that is wrong, so that what refers to it is not blamed: any place lies inside it."""
        if name not in self:
            self.add(where, name, "", "", "")
            self._sizes[-1] = sys.maxsize

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._rows

    def size(self, name: str) -> int:
        """Characters in a document's text."""
        return self._sizes[self._rows[name]]

    def place(self, name: str) -> str:
        """Where a document came from."""
        return self._places[self._rows[name]]

    def documents(self) -> Documents:
        """Return all of them, sorted by id."""
        ids = sorted(self._rows)
        order = [self._rows[name] for name in ids]
        return Documents(
            Strings.of(ids), self._titles.take(order), self._texts.take(order), self._metadata.take(order)
        )
