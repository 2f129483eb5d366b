"""Files of a store: written whole or not at all, touched when used, taken away only when nobody uses them."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from evalkit.errors import EvalkitError, InputError

PART = ".part"
"""Ends the name of a file that is being written, or taken away."""

_FRESH = 60.0
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` that takes its place when all went well, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PART)
    try:
        os.close(handle)
        with Path(name).open("wb") as file:
            yield file  # no fsync: what a power cut leaves torn, the checksum finds
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Say in one line that a store cannot be written.

    Raises
    ------
    InputError
        If the folder may not be written to.
    EvalkitError
        If the disk is full, or fails otherwise.
    """
    try:
        yield
    except OSError as error:
        reason = f"store {folder}: cannot be written ({error.strerror or error})"
        if error.errno in _REFUSED:
            raise InputError(f"{reason}, and this has to be; set EVALKIT_STORE to another folder") from None
        raise EvalkitError(
            f"{reason}; make room (evalkit store gc) or set EVALKIT_STORE to another folder, and run again to go on"
        ) from None


def use(path: Path, last: float) -> bool:
    """Write down, at most once a minute, that a file is used; False where it has just been taken away.

    Parameters
    ----------
    path : Path
    last : float
        When it was last used: its modification time, as just read. One in the future (a clock that was set back)
        is corrected.
    """
    if abs(time.time() - last) > _FRESH:
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # a store that cannot be written is still read
            return True
    return True


def take_away(path: Path, seen: os.stat_result, *, even_if_used: bool = False) -> bool:
    """Delete a file, unless it was replaced, or used, since it was `seen`.

    Whoever uses a file looks whether it is there and touches it then. Here it is renamed first and looked at after,
    so whichever comes first, either the user finds that it is gone, or its touch is found and it is put back.
    """
    aside = path.with_name(f".{uuid4().hex}{PART}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    now = aside.stat()
    if now.st_ino != seen.st_ino or (now.st_mtime_ns != seen.st_mtime_ns and not even_if_used):
        os.replace(aside, path)
        return False
    aside.unlink()
    return True


def time_there(folder: Path) -> float:
    """Return the time by the clock that dates the files of a folder: on a network share not this machine's."""
    with suppress(OSError):  # of a folder that cannot be written nothing is removed either
        os.utime(folder)
        return folder.stat().st_mtime
    return time.time()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other writers, in this process and others, from a folder: its descriptor is locked, no file is left."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
