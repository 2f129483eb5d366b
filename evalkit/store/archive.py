"""A store as one file that can be carried elsewhere.

A tar archive, compressed with gzip where its name ends in ``.gz`` or ``.tgz``. It begins with a note of what it is
and ends with a count of what it holds; between them lie artefacts, then actions, then the journal's rows, many to a
member. Every member's name is the hash of its content; no name in the archive ever becomes a path.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, cast

from evalkit.errors import InputError
from evalkit.store import rows
from evalkit.store.artefacts import CorruptArtefact, check
from evalkit.store.disk import DiskStore
from evalkit.store.files import told, written
from evalkit.store.journal import read_row
from evalkit.store.layout import ANYWHERE, Entry, read_entry
from evalkit.types import Digest
from evalkit.values import FORMAT

VERSION = 1
"""Of the way archives are laid out."""

_FIRST, _LAST = "evalkit-store.json", "end.json"
_MEMBER = re.compile(r"(objects|actions|journal)/([0-9a-f]{2,64})\.(safetensors|jsonl)")
_ACTIONS_AT_ONCE = 1000
_FAULTS = (tarfile.TarError, EOFError, OSError, zlib.error)


@dataclass
class Carried:
    """What was written into an archive, or was new when it was read from one.

    Parameters
    ----------
    artefacts, actions, rows : int
    damaged : int
        Artefacts that were left out, with their actions.
    """

    artefacts: int = 0
    actions: int = 0
    rows: int = 0
    damaged: int = 0


def export_to(store: DiskStore, target: Path, *, journal_only: bool = False) -> Carried:
    """Write a store into one file, whole or not at all. Equal stores give equal files.

    Parameters
    ----------
    store : DiskStore
    target : Path
        A name ending in ``.tar``, ``.tar.gz`` or ``.tgz``.
    journal_only : bool
        Only the journal: what was paid for.

    Returns
    -------
    Carried

    Raises
    ------
    InputError
        If the file has another ending, is there already, or cannot be written.
    """
    if not target.name.endswith((".tar", ".tar.gz", ".tgz")):
        raise InputError(f"{target}: the name of an archive ends in .tar, .tar.gz or .tgz")
    if target.exists():
        raise InputError(f"{target}: is there already; give another name")
    carried = Carried()
    try:
        with written(target) as file:
            if target.name.endswith(".tar"):
                _write(store, cast("IO[bytes]", file), carried, journal_only)
            else:
                with GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed:
                    _write(store, cast("IO[bytes]", packed), carried, journal_only)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from None
    return carried


def _write(store: DiskStore, file: IO[bytes], carried: Carried, journal_only: bool) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, _FIRST, {"archive": VERSION, "format": FORMAT})
        if not journal_only:
            entries = _entries(store)  # before the artefacts, so that each is there already
            there = set(_artefacts(store, archive, {entry.content for _, entry in entries}, carried))
            whole = [(name, entry) for name, entry in entries if entry.content in there]
            carried.actions = len(whole)
            for start in range(0, len(whole), _ACTIONS_AT_ONCE):
                part = whole[start : start + _ACTIONS_AT_ONCE]
                _add_lines(archive, "actions", [[name, json.loads(entry.text())] for name, entry in part])
        for batch in rows.batches(store.journal):
            sound = [[key, row.decode()] for key, row in batch if read_row(key, row) is not None]
            carried.rows += len(sound)
            _add_lines(archive, "journal", sound)
        _add(archive, _LAST, asdict(carried))


def _entries(store: DiskStore) -> list[tuple[Digest, Entry]]:
    found = []
    for name, path, _ in store.layout.actions():
        try:
            entry = read_entry(path)
        except FileNotFoundError:  # collected meanwhile
            continue
        if entry is not None and entry.format == FORMAT:
            found.append((name, entry))
    return found


def _artefacts(
    store: DiskStore, archive: tarfile.TarFile, contents: set[Digest], carried: Carried
) -> Iterator[Digest]:
    for content in sorted(contents):
        path = store.layout.object(content)
        try:
            check(path, content)
            with path.open("rb") as file:
                info = tarfile.TarInfo(f"objects/{content}.safetensors")
                info.size = path.stat().st_size
                archive.addfile(info, file)
        except (CorruptArtefact, FileNotFoundError):
            carried.damaged += 1
            continue
        carried.artefacts += 1
        yield content


def _add(archive: tarfile.TarFile, name: str, what: Any) -> None:
    _add_bytes(archive, name, json.dumps(what, sort_keys=True).encode())


def _add_lines(archive: tarfile.TarFile, part: str, lines: list[list[Any]]) -> None:
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()
    _add_bytes(archive, f"{part}/{_hash(text)}.jsonl", text)


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _hash(data: bytes) -> Digest:
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def import_from(store: DiskStore, source: Path) -> Carried:
    """Add what an archive holds to a store. What is there already stays, so a second time adds nothing.

    Every artefact is checked before it takes its place. Where an archive turns out to be damaged, what was read
    before is kept: it is whole.

    Returns
    -------
    Carried
        What was new.

    Raises
    ------
    InputError
        If the file is no archive of a store, is one of another format, is damaged or cut short, or if the store may
        not be written to.
    """
    carried = Carried()
    try:
        with tarfile.open(source, mode="r|*") as archive:
            members = iter(archive)
            _check_first(source, archive, next(members, None))
            count = Carried()
            for member in members:
                if member.name == _LAST:
                    _check_last(source, b"".join(_pieces(source, archive, member)), count)
                    return carried
                part, name = _sound_name(source, member)
                pieces = _pieces(source, archive, member)
                if part == "objects":
                    count.artefacts += 1
                    carried.artefacts += _take_artefact(store, source, name, pieces)
                    continue
                lines = _lines(source, member.name, name, pieces)
                if part == "actions":
                    count.actions += len(lines)
                    carried.actions += sum(_take_action(store, source, *line) for line in lines)
                else:
                    count.rows += len(lines)
                    carried.rows += _take_rows(store, source, lines)
    except _FAULTS as error:
        raise InputError(f"{source}: cannot be read ({_line(error)})") from None
    raise InputError(f"{source}: is cut short; what was read of it is kept")


def _check_first(source: Path, archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> None:
    if member is None or member.name != _FIRST:
        raise InputError(f"{source}: is no archive of a store")
    try:
        note = json.loads(b"".join(_pieces(source, archive, member)))
        laid_out, version = note["archive"], note["format"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{source}: is no archive of a store") from None
    if (laid_out, version) != (VERSION, FORMAT):
        raise InputError(
            f"{source}: was written in format {laid_out}.{version}, this version reads {VERSION}.{FORMAT}; "
            "export it again with the same version of evalkit"
        )


def _check_last(source: Path, text: bytes, count: Carried) -> None:
    try:
        said = json.loads(text)
        short = any(said[name] != getattr(count, name) for name in ("artefacts", "actions", "rows"))
    except (ValueError, KeyError, TypeError):
        short = True
    if short:
        raise InputError(f"{source}: does not hold what it says; what was read of it is kept")


def _sound_name(source: Path, member: tarfile.TarInfo) -> tuple[str, Digest]:
    """Return the part and the hash that a member's name consists of: nothing else of it is used."""
    found = _MEMBER.fullmatch(member.name)
    if found is None or not member.isreg():
        raise InputError(f"{source}: holds what no store exports ({member.name!r})")
    return found[1], found[2]


def _pieces(source: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    """Yield a member's content; a fault of the archive is told as such, whatever is done with the pieces."""
    if not member.isreg():
        raise InputError(f"{source}: holds what no store exports ({member.name!r})")
    try:
        file = archive.extractfile(member)
        while file is not None and (piece := file.read(1 << 20)):
            yield piece
    except _FAULTS as error:
        raise InputError(f"{source}: cannot be read ({_line(error)})") from None


def _take_artefact(store: DiskStore, source: Path, content: Digest, pieces: Iterator[bytes]) -> bool:
    path = store.layout.object(content)
    with suppress(CorruptArtefact):
        check(path, content)
        return False
    try:
        with told(store.folder), written(path) as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            check(Path(file.name), content)
    except CorruptArtefact:
        raise InputError(f"{source}: artefact {content} is damaged; what was read before it is kept") from None
    return True


def _lines(source: Path, name: str, content: Digest, pieces: Iterator[bytes]) -> list[Any]:
    text = b"".join(pieces)
    if _hash(text) != content:
        raise InputError(f"{source}: {name} is damaged; what was read before it is kept")
    return [json.loads(line) for line in text.splitlines()]


def _take_action(store: DiskStore, source: Path, name: str, said: dict[str, Any]) -> bool:
    try:
        entry = Entry.read(json.dumps(said).encode())
    except ValueError:
        entry = None
    if entry is None or entry.format != FORMAT or not ANYWHERE.fullmatch(name):
        raise InputError(f"{source}: holds an action that no store exports ({name!r})")
    path = store.layout.action(name)
    with suppress(FileNotFoundError):
        old = read_entry(path)
        if old is not None and old.format == FORMAT and store.layout.object(old.content).exists():
            return False
    if not store.layout.object(entry.content).exists():
        return False
    with told(store.folder), written(path) as file:
        file.write(entry.text())
    return True


def _take_rows(store: DiskStore, source: Path, lines: list[Any]) -> int:
    if any(read_row(key, row.encode()) is None for key, row in lines):
        raise InputError(f"{source}: holds a row of the journal that no store exports")
    return store.journal.insert([(key, row) for key, row in lines])


def _line(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
