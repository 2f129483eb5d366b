"""A folder of results on disk: written whole or not at all, and never over anybody else's things."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evalkit.errors import InputError
from evalkit.paths import find
from evalkit.store.files import alone

MANIFEST = "manifest.json"
_PART = ".part"
_LITTER = (".DS_Store", ".ipynb_checkpoints")


class Digested(Protocol):
    """What says by a hash what it is."""

    @property
    def digest(self) -> str:
        """Hash of all that is told."""


T = TypeVar("T", bound=Digested)


@dataclass(frozen=True)
class FolderKind:
    """What a kind of folder holds, and how one is told from somebody's own.

    Parameters
    ----------
    what : str
        Its content, for messages.
    names : tuple of str
        Files and folders that may lie in it, beside the manifest.
    marks : frozenset of str
        Keys that its manifest has and no other's.
    one : str
        What one such thing is called.
    """

    what: str
    names: tuple[str, ...]
    marks: frozenset[str]
    one: str = "results"

    def replace(self, target: Path, write: Callable[[Path], None]) -> None:
        """Put a folder that `write` fills in the place of an earlier one, in one step.

        Raises
        ------
        InputError
            As `check`; nothing is changed then.
        """
        _make_parent(target)
        with ExitStack() as held:
            with alone(target.parent):
                self.check(target)
                _clear(target)
                part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_PART))
                held.enter_context(alone(part))
            try:
                write(part)
                part.chmod(0o755)
                with alone(target.parent):
                    self.check(target)
                    _swap(part, target)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise

    def check(self, target: Path) -> None:
        """Refuse a folder that cannot be made or holds something else, before any work is done.

        Raises
        ------
        InputError
        """
        if target.exists() and not target.is_dir():
            raise InputError(f"{target}: is a file; give a folder for {self.what}")
        found = {path.name for path in target.iterdir()} if target.is_dir() else set()
        foreign = sorted(found - {MANIFEST, *self.names, *_LITTER} if self.holds(target) else found)
        if foreign:
            raise InputError(
                f"{target}: holds other things than {self.what} ({foreign[0]}); give an empty folder or a new one"
            )
        _make_parent(target)
        try:
            with tempfile.TemporaryFile(dir=target if target.is_dir() else target.parent):
                pass
        except OSError as error:
            raise _unwritable(target, error) from None

    def holds(self, folder: Path) -> bool:
        """Whether a folder is one of this kind: a manifest alone may be somebody's file of that name."""
        try:
            return self.marks <= set(json.loads((folder / MANIFEST).read_bytes()))
        except (OSError, ValueError, TypeError):
            return False

    def load(
        self, folder: str | os.PathLike[str], key: str, form: int, read: Callable[[Path, dict[str, Any]], T]
    ) -> T:
        """Read what a folder of this kind holds, and check that it is what was written.

        Parameters
        ----------
        folder : path
            From the working folder or the project's root.
        key : str
            Of the format's number in the manifest.
        form : int
            The only number that is read.
        read : function
            Makes the results from the folder and its manifest.

        Raises
        ------
        InputError
            If the folder holds none, one of another format, or one that is damaged.
        """
        place = find(folder)
        if not self.holds(place):
            raise InputError(f"{folder}: no {self.one} here; give a folder that one was saved in")
        try:
            said = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
            if said[key] != form:
                raise InputError(f"{folder}: a {self.one} of format {said[key]}, not {form}; run it again")
            found = read(place, said)
            whole = found.digest == said["digest"]
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{folder}: this {self.one} cannot be read ({reason})") from None
        if not whole:
            raise InputError(
                f"{folder}: this {self.one} is damaged, or from another version: not what was written; run it again"
            )
        return found


def _clear(target: Path) -> None:
    """Take away what killed savers left: folders that nobody holds; earlier results moved aside are put back."""
    for left in sorted(target.parent.glob(f".{glob.escape(target.name)}.????????{_PART}")):
        try:
            handle = os.open(left, os.O_RDONLY)
        except FileNotFoundError:  # a saver that failed has just taken its own away
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
        old = left.with_name(f"{left.name}.old")
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(left)


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(target, error) from None


def _unwritable(target: Path, error: OSError) -> InputError:
    return InputError(f"{target}: cannot be written ({error.strerror}); give another folder with --out")


def _swap(part: Path, target: Path) -> None:
    """Put a folder in the place of another; if that fails the other is back in its place."""
    old = part.with_name(f"{part.name}.old")
    with suppress(FileNotFoundError):
        os.replace(target, old)
    try:
        os.replace(part, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
