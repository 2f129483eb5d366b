"""Reading everything in a store against its checksums."""

from __future__ import annotations

from dataclasses import dataclass, field

from evalkit.errors import EvalkitError
from evalkit.store import rows
from evalkit.store.artefacts import CorruptArtefact, OtherFormat, check
from evalkit.store.disk import DiskStore
from evalkit.store.files import take_away, told
from evalkit.store.layout import read_entry
from evalkit.types import Digest
from evalkit.values import FORMAT


@dataclass
class Findings:
    """What was read, and what is damaged.

    Parameters
    ----------
    artefacts, actions, rows : int
        Whole ones.
    size : int
        Bytes of artefacts read.
    other_formats : int
        Files that another version of evalkit wrote: not read, not damaged.
    leftovers : int
        Files that were being written, now or by a process that was killed.
    damaged : list of str
        A line each.
    repaired : list of str
        What was done about them.
    """

    artefacts: int = 0
    actions: int = 0
    rows: int = 0
    size: int = 0
    other_formats: int = 0
    leftovers: int = 0
    damaged: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


def verify(store: DiskStore, *, repair: bool = False) -> Findings:
    """Read every artefact against its checksum, every action's target, every row of the journal.

    Runs may go on meanwhile, except while a damaged journal is repaired.

    Parameters
    ----------
    store : DiskStore
    repair : bool
        Drop what is damaged, so that it is made anew. A damaged journal is set aside, and what can be read of it is
        kept.

    Raises
    ------
    InputError
        If `repair` may not change the folder.
    """
    found = Findings(leftovers=sum(1 for _ in store.layout.leftovers()))
    with told(store.folder):
        bad = _artefacts(store, found, repair)
        _actions(store, found, bad, repair)
    _journal(store, found, repair)
    return found


def _artefacts(store: DiskStore, found: Findings, repair: bool) -> set[Digest]:
    bad = set()
    for content, path, status in store.layout.objects():
        try:
            check(path, content)
        except OtherFormat:
            found.other_formats += 1
            continue
        except CorruptArtefact as error:
            if path.exists():  # else it was collected meanwhile
                bad.add(content)
                found.damaged.append(str(error))
                if repair and take_away(path, status, even_if_used=True):
                    found.repaired.append(f"{path}: dropped")
            continue
        found.artefacts, found.size = found.artefacts + 1, found.size + status.st_size
    return bad


def _actions(store: DiskStore, found: Findings, bad: set[Digest], repair: bool) -> None:
    for _, path, status in store.layout.actions():
        try:
            entry = read_entry(path)
        except FileNotFoundError:  # collected meanwhile
            continue
        if entry is not None and entry.format != FORMAT:
            found.other_formats += 1
            continue
        if entry is None:
            fault = "not a whole action"
        elif entry.content in bad:
            fault = f"its artefact {entry.content} is damaged"
        elif not store.layout.object(entry.content).exists() and path.exists():
            fault = f"its artefact {entry.content} is missing"
        else:
            found.actions += 1
            continue
        found.damaged.append(f"{path}: {fault}")
        if repair and take_away(path, status, even_if_used=True):
            found.repaired.append(f"{path}: dropped")


def _journal(store: DiskStore, found: Findings, repair: bool) -> None:
    journal = store.journal
    try:
        fault = rows.damage(journal)
        unreadable = [] if fault else rows.unreadable(journal)
    except EvalkitError as error:
        fault, unreadable = str(error), []
    if fault:
        found.damaged.append(fault if fault.startswith(str(journal.path)) else f"{journal.path}: {fault}")
        if repair:
            saved, aside = rows.salvage(journal)
            found.rows = saved
            found.repaired.append(f"{journal.path}: {saved} rows kept, the rest set aside as {aside.name}")
        return
    found.damaged += [f"{journal.path}: the entry of {key} cannot be read" for key in unreadable]
    if repair and unreadable:
        rows.drop(journal, unreadable)
        found.repaired.append(f"{journal.path}: {len(unreadable)} rows dropped")
    found.rows = rows.count(journal) - (0 if repair else len(unreadable))
