"""Reading the fields of records that hold objects inside objects."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from evalkit.datasets.corpus import Corpus
from evalkit.datasets.rows import BLANKS, Faults, Span, misspelt, read_span


class Record:
    """Reads the fields of a record, or of an object inside it, and says what is wrong with them."""

    def __init__(self, where: str, data: Mapping[str, Any], what: str, corpus: Corpus, faults: Faults) -> None:
        self.where, self.data, self.what, self.corpus, self.faults = where, data, what, corpus, faults
        self._before = len(faults.lines)

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong so far, parts included."""
        return len(self.faults.lines) == self._before

    def fault(self, what: str) -> None:
        """Note a fault."""
        self.faults.add(self.where, f"{self.what}: {what}")

    def part(self, data: Mapping[str, Any], what: str, keys: Set[str]) -> Record:
        """Return an object inside the record; `keys` are those that it may have."""
        inner = Record(self.where, data, f"{self.what}, {what}", self.corpus, self.faults)
        inner.keys(keys)
        return inner

    def keys(self, known: Set[str]) -> None:
        """Check that no key looks like a missing one."""
        if told := misspelt(self.data, known):
            self.fault(told)

    def text(self, key: str) -> str:
        """Return a text that must be there."""
        value = self.data.get(key)
        if isinstance(value, str) and value.strip():
            return value
        self.fault(f"'{key}' must be a text that is not empty")
        return ""

    def name(self, key: str) -> str:
        """Return a text that others refer to."""
        value = self.text(key)
        if value != value.strip():
            self.fault(f"'{key}': {BLANKS}")
        return value

    def optional(self, key: str) -> str:
        """Return a text; empty where there is none."""
        value = self.data.get(key, "")
        if isinstance(value, str):
            return value
        self.fault(f"'{key}' must be a text")
        return ""

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; empty where there is none."""
        value = self.data.get(key)
        if value is None or (isinstance(value, list) and all(isinstance(t, str) and t.strip() for t in value)):
            return tuple(value or ())
        self.fault(f"'{key}' must be a list of texts")
        return ()

    def objects(self, key: str) -> list[dict[str, Any]]:
        """Return a list of objects; empty where there is none."""
        value = self.data.get(key)
        if value is None or (isinstance(value, list) and all(isinstance(item, dict) and item for item in value)):
            return value or []
        self.fault(f"'{key}' must be a list of objects")
        return []

    def document(self) -> str:
        """Return the id of a document that there is."""
        name = self.data.get("document")
        if isinstance(name, str) and name in self.corpus:
            return name
        self.fault(f"unknown document '{name}'")
        return ""

    def evidence(self) -> tuple[Span, ...]:
        """Return the spans that lie in their documents."""
        spans = [read_span(item, self.corpus, self.where, self.faults) for item in self.objects("evidence")]
        return tuple(span for span in spans if span)
