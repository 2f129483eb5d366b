"""The command line's ``store``: ls, verify, gc, export, import."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from evalkit.errors import EvalkitError, InputError

if TYPE_CHECKING:
    from evalkit.store import DiskStore
    from evalkit.store.survey import Share, Survey

DONE, FAILED = 0, 1
_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Say = Callable[[str], None]
T = TypeVar("T")


def add_store_commands(store: argparse.ArgumentParser, say: Say) -> None:
    """Give ``store`` its commands; `say` prints what they have to say."""
    commands = store.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, work: Callable[[argparse.Namespace, Say], int], what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what)
        command.set_defaults(command=lambda options: work(options, say))
        return command

    ls = add("ls", _ls, "say what is in the store")
    ls.add_argument("--long", action="store_true", help="list every action")
    verify = add("verify", _verify, "read everything against its checksum; exit 1 if anything is damaged")
    verify.add_argument("--repair", action="store_true", help="drop what is damaged, so that it is made anew")
    gc = add("gc", _gc, "remove what no run can use and, to come below a size, what was used least recently")
    gc.add_argument("--max-size", metavar="SIZE", help="of artefacts and actions: 500MB, 2GB, 1.5GiB")
    gc.add_argument("--grace", metavar="TIME", default="1d", help="what was used within it stays (default 1d)")
    gc.add_argument("--journal", action="store_true", help="count the journal too, and drop its oldest rows last")
    export = add("export", _export, "write the store into one file, to be imported elsewhere")
    export.add_argument("file", type=Path, metavar="FILE", help="ends in .tar, .tar.gz or .tgz")
    export.add_argument("--journal", action="store_true", help="only the journal: the calls that were paid for")
    bring = add("import", _import, "add what such a file holds; what is there already stays")
    bring.add_argument("file", type=Path, metavar="FILE")


def parse_size(text: str) -> int:
    """Return the bytes that a size such as ``2GB`` or ``1.5 GiB`` means.

    Raises
    ------
    InputError
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise InputError(f"'{text}': is no size; write one such as 500MB, 2GB or 1.5GiB")
    return round(float(found[1]) * _UNITS[found[2]])


def parse_time(text: str) -> float:
    """Return the seconds that a time such as ``12h`` means.

    Raises
    ------
    InputError
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip().lower())
    if found is None:
        raise InputError(f"'{text}': is no time; write one such as 30m, 12h or 1d")
    return float(found[1]) * _SECONDS[found[2]]


def size_text(size: float) -> str:
    """Return bytes in a unit that people read: ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def time_text(seconds: float) -> str:
    """Return a point in time as people here read it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "-"


def _opened() -> DiskStore:
    """Open the project's store.

    Raises
    ------
    InputError
        If there is none: a look makes none.
    """
    from evalkit.paths import store_dir
    from evalkit.store import DiskStore

    if not store_dir().is_dir():
        raise InputError(f"store {store_dir()}: there is none; a run makes it, or set EVALKIT_STORE to where it lies")
    return DiskStore(store_dir())


def _ls(options: argparse.Namespace, say: Say) -> int:
    from evalkit.store.survey import survey

    store = _opened()
    found = survey(store)
    say(f"{store.folder}: {_many(found.total.number, 'artefact')}, {size_text(found.total.size)}")
    if options.long:
        _say_actions(found, say)
    else:
        for title, shares in (("op", found.by_op()), ("kind", found.by_kind())):
            _say_shares(title, shares, say)
    rows = "damaged; evalkit store verify says how" if found.rows is None else _many(found.rows, "row")
    say(f"journal: {rows}, {size_text(found.journal_size)}")
    if found.leftovers.number:
        say(f"unfinished files: {found.leftovers.number}, {size_text(found.leftovers.size)}")
    return DONE


def _say_shares(title: str, shares: Mapping[str, Share], say: Say) -> None:
    if shares:
        count = "results" if title == "op" else "artefacts"
        rows = [
            (name or "-", str(share.number), size_text(share.size), time_text(share.used))
            for name, share in shares.items()
        ]
        say("\n" + _table([(title, count, "size", "last used"), *rows]) + "\n")


def _say_actions(found: Survey, say: Say) -> None:
    rows: list[tuple[str, ...]] = [("action", "op", "kind", "size", "seconds", "origin", "last used")]
    for name, entry, used in sorted(found.actions, key=lambda action: action.used):
        held = found.artefacts.get(entry.content) if entry else None
        rows.append((
            name,
            entry.op if entry else "(damaged)",
            held.kind if held else "(missing)",
            size_text(held.size) if held else "-",
            str(entry.note.get("seconds", "-")) if entry else "-",
            entry.origin if entry else "-",
            time_text(used),
        ))  # fmt: skip
    say("\n" + _table(rows) + "\n")


def _verify(options: argparse.Namespace, say: Say) -> int:
    from evalkit.store.verify import verify

    found = verify(_opened(), repair=options.repair)
    for line in found.damaged:
        say(f"damaged: {line}")
    for line in found.repaired:
        say(f"repaired: {line}")
    say(
        f"{_many(found.artefacts, 'artefact')} ({size_text(found.size)}), {_many(found.actions, 'action')} and "
        f"{_many(found.rows, 'row')} of the journal are whole; {len(found.damaged)} damaged"
    )
    for number, what in ((found.other_formats, "of another format"), (found.leftovers, "unfinished")):
        if number:
            say(f"{_many(number, 'file')} {what}; evalkit store gc removes what nobody uses")
    return FAILED if found.damaged else DONE


def _gc(options: argparse.Namespace, say: Say) -> int:
    from evalkit.store.collect import collect

    limit = None if options.max_size is None else _of("--max-size", parse_size, options.max_size)
    grace = _of("--grace", parse_time, options.grace)
    if options.journal and limit is None:
        raise InputError(
            "--journal: give --max-size too; the journal's oldest rows go only where the rest is not enough"
        )
    done = collect(_opened(), limit, grace=grace, journal=options.journal)
    rows = f", {_many(done.rows, 'row')} of the journal" if options.journal else ""
    say(
        f"removed {_many(done.actions, 'action')}, {_many(done.artefacts, 'artefact')}, "
        f"{_many(done.leftovers, 'unfinished file')}{rows}: {size_text(done.freed)}; {size_text(done.left)} left"
    )
    if limit is not None and done.left > limit:
        say(
            f"that is more than {size_text(limit)}: the rest was used in the last {options.grace}, "
            "or is needed by what was"
        )
    return DONE


def _export(options: argparse.Namespace, say: Say) -> int:
    from evalkit.store.archive import export_to

    done = export_to(_opened(), options.file, journal_only=options.journal)
    say(
        f"{options.file}: {_many(done.artefacts, 'artefact')}, {_many(done.actions, 'action')}, "
        f"{_many(done.rows, 'row')} of the journal, {size_text(options.file.stat().st_size)}"
    )
    if done.damaged:
        raise EvalkitError(f"{_many(done.damaged, 'damaged artefact')} left out; evalkit store verify says which")
    return DONE


def _import(options: argparse.Namespace, say: Say) -> int:
    from evalkit.paths import store_dir
    from evalkit.store import DiskStore
    from evalkit.store.archive import import_from

    if not options.file.is_file():
        raise InputError(f"{options.file}: no such file")
    done = import_from(DiskStore(store_dir()), options.file)
    say(
        f"new: {_many(done.artefacts, 'artefact')}, {_many(done.actions, 'action')}, "
        f"{_many(done.rows, 'row')} of the journal; the rest was there"
    )
    return DONE


def _of(name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except InputError as error:
        raise InputError(f"{name} {error}") from None


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _table(rows: list[tuple[str, ...]]) -> str:
    """Lay rows out in columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {"results", "artefacts", "size", "seconds"}
    lines = []
    for row in rows:
        cells = zip(rows[0], row, widths, strict=True)
        lines.append("  ".join(c.rjust(w) if title in right else c.ljust(w) for title, c, w in cells).rstrip())
    return "\n".join(lines)
