"""Which kind of file system a folder lies on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_LOCAL = (
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "ntfs3", "overlay", "ramfs", "reiserfs",
    "tmpfs", "vfat", "xfs", "zfs",
)  # fmt: skip


def is_local(folder: Path) -> bool:
    """Whether a folder lies on a file system of this machine alone; False where that cannot be told."""
    try:
        with Path("/proc/self/mounts").open(encoding="utf-8", errors="surrogateescape") as lines:
            return kind_of(folder.resolve(), lines) in _LOCAL
    except OSError:
        return False


def kind_of(folder: Path, mounts: Iterable[str]) -> str:
    """Return the kind of file system that a folder lies on, from the lines of ``/proc/self/mounts``.

    The deepest mount counts and, of several on one place, the last.
    """
    depth, kind = -1, ""
    for line in mounts:
        _, place, found, *_ = line.split(" ")
        parts = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), place)).parts
        if folder.parts[: len(parts)] == parts and len(parts) >= depth:
            depth, kind = len(parts), found
    return kind
