"""Making a store smaller without taking anything from a run."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from evalkit.store import rows
from evalkit.store.artefacts import CorruptArtefact, read_header
from evalkit.store.disk import DiskStore
from evalkit.store.files import take_away, time_there, told
from evalkit.store.layout import Entry, read_entry
from evalkit.types import Digest
from evalkit.values import FORMAT

GRACE = 24 * 3600.0
"""Seconds for which what was used stays, whatever the limit: a run that goes on may still want it."""

_PART_GRACE = 3600.0


class File(NamedTuple):
    """A file of the store, as it was seen."""

    path: Path
    seen: os.stat_result
    used: float

    @property
    def size(self) -> int:
        """Bytes."""
        return self.seen.st_size


@dataclass
class Collected:
    """What was removed.

    Parameters
    ----------
    actions, artefacts, leftovers, rows : int
    freed : int
        Bytes.
    left : int
        Bytes of artefacts and actions that are still there, and of the journal where it counts.
    """

    actions: int = 0
    artefacts: int = 0
    leftovers: int = 0
    rows: int = 0
    freed: int = 0
    left: int = 0


@dataclass
class _Seen:
    """What lies in the store: actions with what they say, artefacts with their format, who needs which."""

    actions: dict[Digest, tuple[File, Entry | None]] = field(default_factory=dict)
    artefacts: dict[Digest, tuple[File, str]] = field(default_factory=dict)
    needed: Counter[Digest] = field(default_factory=Counter)


def collect(
    store: DiskStore, max_size: int | None = None, *, grace: float = GRACE, journal: bool = False
) -> Collected:
    """Remove what no run can use and, to come below `max_size`, the actions used least recently.

    No run can use the leftovers of killed processes (after an hour), files of older formats and artefacts that no
    action and no input names (after `grace`), and actions without an artefact. What was used within `grace` stays:
    a run that goes on marks what it uses. Runs may go on meanwhile.

    Parameters
    ----------
    store : DiskStore
    max_size : int, optional
        Bytes of artefacts and actions; without it only what no run can use is removed.
    grace : float
        Seconds. Below two minutes only where no run goes on.
    journal : bool
        Count the journal too, and drop its first rows where the rest is not enough: those calls are paid again.

    Returns
    -------
    Collected

    Raises
    ------
    InputError
        If the folder may not be written to.
    EvalkitError
        If it cannot be for another reason.
    """
    done = Collected()
    with told(store.folder):
        now = time_there(store.folder)
        for path, status in store.layout.leftovers():
            if now - _corrected(path, status, now) > min(grace, _PART_GRACE) and take_away(path, status):
                done.leftovers, done.freed = done.leftovers + 1, done.freed + status.st_size
        seen = _look(store, now)
        _useless(seen, done, now - grace)
        beside = rows.size(store.journal) if journal else 0
        if max_size is not None:
            _shrink(seen, done, now - grace, max_size - beside)
        if max_size is not None and journal:
            done.rows = rows.trim(store.journal, max(0, max_size - _size(seen)))
            done.freed += beside - rows.size(store.journal)
    done.left = _size(seen) + (rows.size(store.journal) if journal else 0)
    return done


def _look(store: DiskStore, now: float) -> _Seen:
    seen = _Seen()
    for content, path, status in store.layout.objects():
        try:
            version = read_header(path).format
        except CorruptArtefact:
            version = ""
        seen.artefacts[content] = File(path, status, _corrected(path, status, now)), version
    for name, path, status in store.layout.actions():
        try:
            entry = read_entry(path)
        except FileNotFoundError:  # somebody else collects
            continue
        seen.actions[name] = File(path, status, _corrected(path, status, now)), entry
        if entry is not None:
            seen.needed[entry.content] += 1
    return seen


def _corrected(path: Path, status: os.stat_result, now: float) -> float:
    """Return a file's last use; one in the future, from a clock that was set back, is now, and ages from now on."""
    if status.st_mtime <= now + 60:
        return status.st_mtime
    os.utime(path, (now, now))
    return now


def _useless(seen: _Seen, done: Collected, before: float) -> None:
    for name, (file, entry) in list(seen.actions.items()):
        held = seen.artefacts.get(entry.content) if entry is not None else None
        older = entry is not None and entry.format < FORMAT and file.used < before
        dangling = entry is not None and entry.format == FORMAT and held is None and not _there(file, entry)
        if entry is None or older or dangling:
            _drop_action(name, seen, done)
    for content, (file, version) in list(seen.artefacts.items()):
        older = version.isdigit() and int(version) < FORMAT
        newer = version.isdigit() and int(version) > FORMAT
        if file.used < before and (older or not (newer or seen.needed[content])):
            _drop_artefact(content, seen, done)


def _there(file: File, entry: Entry) -> bool:
    """Whether an artefact has come since the artefacts were listed."""
    return (file.path.parents[2] / "objects" / entry.content[:2] / f"{entry.content}.safetensors").exists()


def _shrink(seen: _Seen, done: Collected, before: float, limit: int) -> None:
    left = _size(seen)
    for name, (file, entry) in sorted(seen.actions.items(), key=lambda item: (item[1][0].used, item[0])):
        if left <= limit or file.used >= before:
            return
        held = seen.artefacts.get(entry.content) if entry is not None else None
        if held is not None and held[0].used >= before:
            continue
        freed = done.freed
        _drop_action(name, seen, done)
        if entry is not None and held is not None and not seen.needed[entry.content]:
            _drop_artefact(entry.content, seen, done)
        left -= done.freed - freed


def _drop_action(name: Digest, seen: _Seen, done: Collected) -> None:
    file, entry = seen.actions[name]
    if take_away(file.path, file.seen):
        del seen.actions[name]
        done.actions, done.freed = done.actions + 1, done.freed + file.size
        if entry is not None:
            seen.needed[entry.content] -= 1


def _drop_artefact(content: Digest, seen: _Seen, done: Collected) -> None:
    file, _ = seen.artefacts[content]
    if take_away(file.path, file.seen):
        del seen.artefacts[content]
        done.artefacts, done.freed = done.artefacts + 1, done.freed + file.size


def _size(seen: _Seen) -> int:
    return sum(file.size for file, _ in [*seen.actions.values(), *seen.artefacts.values()])
