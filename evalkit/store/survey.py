"""What a store holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.errors import EvalkitError
from evalkit.store import rows
from evalkit.store.artefacts import CorruptArtefact, read_header
from evalkit.store.disk import DiskStore
from evalkit.store.layout import Entry, read_entry
from evalkit.types import Digest
from evalkit.values import FORMAT


class Action(NamedTuple):
    """One action: its name, what its file says (None where it is damaged), when it was last used (seconds)."""

    name: Digest
    entry: Entry | None
    used: float


class Artefact(NamedTuple):
    """One artefact: its content, its kind and format (empty where it is damaged), bytes, last use (seconds)."""

    content: Digest
    kind: str
    format: str
    size: int
    used: float


class Share(NamedTuple):
    """Some of a store: how many, bytes, last use (seconds; 0 where there is none)."""

    number: int
    size: int
    used: float


@dataclass(frozen=True)
class Survey:
    """What a store holds.

    Parameters
    ----------
    actions : list of Action
    artefacts : {content: Artefact}
    rows : int or None
        Of the journal; None where it is damaged.
    journal_size : int
        Bytes.
    leftovers : Share
        Files that were being written, now or by a process that was killed.
    """

    actions: list[Action]
    artefacts: dict[Digest, Artefact]
    rows: int | None
    journal_size: int
    leftovers: Share

    @property
    def total(self) -> Share:
        """All artefacts."""
        return _share(self.artefacts.values(), len(self.artefacts), (a.used for a in self.artefacts.values()))

    def by_op(self) -> dict[str, Share]:
        """Results by the op that gave them; an artefact that two ops gave counts with both."""
        grouped: defaultdict[str, list[Action]] = defaultdict(list)
        for action in self.actions:
            grouped[_op(action.entry)].append(action)
        return {op: self._of(grouped[op]) for op in sorted(grouped)}

    def by_kind(self) -> dict[str, Share]:
        """Artefacts by kind."""
        grouped: defaultdict[str, list[Artefact]] = defaultdict(list)
        for artefact in self.artefacts.values():
            older = f" (format {artefact.format})" if artefact.kind and artefact.format != str(FORMAT) else ""
            grouped[artefact.kind + older or "(damaged)"].append(artefact)
        return {kind: _share(found, len(found), (a.used for a in found)) for kind, found in sorted(grouped.items())}

    def _of(self, actions: list[Action]) -> Share:
        contents = {action.entry.content for action in actions if action.entry}
        there = [self.artefacts[content] for content in contents if content in self.artefacts]
        return _share(there, len(actions), (action.used for action in actions))


def survey(store: DiskStore) -> Survey:
    """Read all names, sizes, headers and last uses; no array is read, nothing is changed."""
    artefacts = {}
    for content, path, status in store.layout.objects():
        try:
            kind, version, *_ = read_header(path)
        except CorruptArtefact:
            kind, version = "", ""
        artefacts[content] = Artefact(content, kind, version, status.st_size, status.st_mtime)
    actions = []
    for name, path, status in store.layout.actions():
        try:
            actions.append(Action(name, read_entry(path), status.st_mtime))
        except FileNotFoundError:  # collected meanwhile
            continue
    left = [status for _, status in store.layout.leftovers()]
    parts = Share(len(left), sum(s.st_size for s in left), max((s.st_mtime for s in left), default=0.0))
    try:
        recorded = rows.count(store.journal)
    except EvalkitError:
        recorded = None
    return Survey(actions, artefacts, recorded, rows.size(store.journal), parts)


def _op(entry: Entry | None) -> str:
    if entry is None:
        return "(damaged)"
    return entry.op + (f" (format {entry.format})" if entry.format != FORMAT else "")


def _share(artefacts: Iterable[Artefact], number: int, used: Iterable[float]) -> Share:
    return Share(number, sum(artefact.size for artefact in artefacts), max(used, default=0.0))
