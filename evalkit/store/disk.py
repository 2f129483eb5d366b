"""The store in a folder, as runs see it."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from evalkit.errors import InputError
from evalkit.store.artefacts import CorruptArtefact, check, lay_down, open_artefact
from evalkit.store.files import told, use, written
from evalkit.store.journal import Journal
from evalkit.store.layout import INPUT, Entry, Layout
from evalkit.types import Digest, Origin
from evalkit.values import FORMAT, Value, kinds

log = logging.getLogger("evalkit")

_STAYS = 6 * 3600.0


class DiskStore:
    """A store in a folder, for any number of threads and processes, on any number of machines that share the folder.

    Two that put one result at once both succeed: a file is moved into its place whole, and equal names hold equal
    content. What was put or got is not collected while this store is in use: every file bears its last use, is
    marked again every few hours, and ``collect`` leaves alone what was used in the last day.

    A folder that cannot be written is read; only what has to be written is refused, when it has to be.

    Parameters
    ----------
    folder : path
        Created where it is missing.

    Raises
    ------
    InputError
        If there is no store in the folder and none can be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.layout = Layout(self.folder)
        try:
            for part in ("objects", "actions"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"store {self.folder}: cannot be written ({error.strerror}); set EVALKIT_STORE to another folder"
            ) from None
        self.journal = Journal(self.layout.journal)
        self._whole: set[Digest] = set()
        self._kinds = frozenset[str]()
        self._marked = time.monotonic()
        self._loaded: weakref.WeakValueDictionary[Digest, Value] = weakref.WeakValueDictionary()

    def __reduce__(self) -> tuple[type[DiskStore], tuple[Path]]:
        return DiskStore, (self.folder,)

    def get(self, action: Digest) -> tuple[Digest, Origin] | None:
        """Return the content and origin of an action's result, if it is there and whole."""
        path = self.layout.action(action)
        try:
            with path.open("rb") as file:
                entry, last = Entry.read(file.read()), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            log.warning("store: action %s is unreadable and is worked out anew", action)
            return None
        if entry.format != FORMAT or not self._is_whole(entry.content):
            return None
        use(path, last)
        return entry.content, entry.origin

    def put(self, action: Digest, value: Value, origin: Origin, note: Mapping[str, Any]) -> Digest:
        """Keep `value` as the result of `action`.

        Raises
        ------
        InputError
            If the folder may not be written to.
        EvalkitError
            If the disk is full.
        """
        with told(self.folder):
            content = self._keep(value)
            with written(self.layout.action(action)) as file:
                file.write(Entry(content, origin, note=note).text())
        return content

    def add(self, value: Value) -> Digest:
        """Keep an input. It lies under an action of its own name, so that its last use is known too.

        Raises
        ------
        InputError
            If it is new and the folder may not be written to.
        EvalkitError
            If it is new and the disk is full.
        """
        with told(self.folder):
            content = self._keep(value)
        path = self.layout.action(content)
        try:
            use(path, path.stat().st_mtime)
        except OSError:
            with suppress(OSError), written(path) as file:  # the input itself is there, which is what counts
                file.write(Entry(content, "measured", note={"op": INPUT}).text())
        return content

    def load(self, content: Digest) -> Value:
        """Read a value; its arrays are views of the file, not copies.

        Raises
        ------
        CorruptArtefact
            If the file is missing or does not hold what its name says.
        """
        value = self._loaded.get(content)
        if value is None:
            path = self.layout.object(content)
            if not self._is_whole(content):
                raise CorruptArtefact(f"{path}: missing, damaged or of an unknown kind")
            kind, arrays = open_artefact(path)
            value = kinds()[kind].from_arrays(arrays)
            self._loaded[content] = value
        return value

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the journal's entries for those of `keys` that it has."""
        return self.journal.recall(keys)

    def record(self, key: Digest, entry: Mapping[str, Any]) -> None:
        """Write one entry into the journal."""
        self.record_all({key: entry})

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        """Write entries into the journal in one step.

        Raises
        ------
        InputError
            If the folder may not be written to.
        EvalkitError
            If the disk is full.
        """
        self._mark()
        self.journal.record_all(entries)

    def _keep(self, value: Value) -> Digest:
        content = value.digest
        if not self._is_whole(content):
            with written(self.layout.object(content)) as file:
                lay_down(file, type(value).__name__, value.arrays())
            self._whole.add(content)
        self._loaded[content] = value
        return content

    def _is_whole(self, content: Digest) -> bool:
        """Whether an artefact is there and, at this process's first look, holds what its name says."""
        self._mark()
        path = self.layout.object(content)
        try:
            if not use(path, path.stat().st_mtime):
                return False
        except OSError:
            return False
        if content in self._whole:
            return True
        try:
            kind = check(path, content)
        except CorruptArtefact as error:  # it lies there until it is replaced: another process may do that just now
            log.warning("store: %s; it is made anew", error)
            return False
        if kind not in self._kinds:
            self._kinds = frozenset(kinds())
        if kind in self._kinds:  # else its component's module is not imported
            self._whole.add(content)
        return kind in self._kinds

    def _mark(self) -> None:
        """Mark all that this process uses as in use, every few hours, however long it runs."""
        now = time.monotonic()
        if now - self._marked > _STAYS:
            self._marked = now
            for content in sorted(self._whole):
                with suppress(OSError):  # gone, or not to be written: found where it is needed
                    os.utime(self.layout.object(content))
