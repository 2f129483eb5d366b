"""The calls of one node's work, as they are found and kept: in the store's journal, or where a recording has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.types import Digest, Store


class Calls:
    """The journal of a store, for one node's calls; without a store nothing is found or kept.

    Attributes
    ----------
    replayed : bool
        Whether anything that was found came out of a cassette, and so was not measured here.
    """

    replayed = False

    def __init__(self, store: Store | None = None) -> None:
        self._store = store

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the entries of those of `keys` that were kept."""
        return self._store.recall(keys) if self._store else {}

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        """Keep entries in one step; they survive a kill from here on."""
        if self._store:
            self._store.record_all(entries)

    def record(self, key: Digest, entry: Mapping[str, Any]) -> None:
        """Keep one entry."""
        self.record_all({key: entry})

    def before(self, key: Digest, asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Asked before a call is made that was not found. An entry stands for it: what came before its stream broke.

        Parameters
        ----------
        key : Digest
        asked : mapping
            What the journal writes down of what is asked.

        Raises
        ------
        CallFailed
            If that is how the recorded call ended.
        EvalkitError
            If the call may not be made.
        """
        return None


def calls_of(store: Store | None) -> Calls:
    """Return where a store has calls of models: a recording keeps them apart from the rest."""
    own = getattr(store, "calls", None)
    return own() if own is not None else Calls(store)
