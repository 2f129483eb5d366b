"""Where everything lies in a store's folder, and what an action's file says."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from evalkit.store.files import PART
from evalkit.types import Digest, Origin
from evalkit.values import FORMAT

ANYWHERE = re.compile(r"[0-9a-f]{2,64}")
"""What a name may be, so that none leads out of the folder."""

INPUT = "input"
"""The op of an action that is none: of what came from outside."""


@dataclass(frozen=True)
class Entry:
    """What an action gave.

    Parameters
    ----------
    content : str
    origin : {"measured", "replayed", "modelled"}
    format : int
    note : {name: value}
        What else was written down: the op, the seconds it took.
    """

    content: Digest
    origin: Origin
    format: int = FORMAT
    note: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, text: bytes) -> Entry:
        """Read an action's file.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("no entry")
        content, origin, version = (found.pop(name, None) for name in ("content", "origin", "format"))
        if type(version) is not int or not isinstance(content, str) or not isinstance(origin, str):
            raise ValueError("a part of the entry is missing")
        if version == FORMAT and (origin not in get_args(Origin) or not ANYWHERE.fullmatch(content)):
            raise ValueError("no content or no origin")
        return cls(content, cast("Origin", origin), version, found)

    def text(self) -> bytes:
        """Write it."""
        parts = {"format": self.format, "content": self.content, "origin": self.origin, **self.note}
        return json.dumps(parts, sort_keys=True).encode()

    @property
    def op(self) -> str:
        """What made it."""
        return str(self.note.get("op", ""))


@dataclass(frozen=True)
class Layout:
    """The folders of a store.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    def object(self, content: Digest) -> Path:
        """Return the file of an artefact."""
        return self.folder / "objects" / content[:2] / f"{content}.safetensors"

    def action(self, action: Digest) -> Path:
        """Return the file of an action."""
        return self.folder / "actions" / action[:2] / f"{action}.json"

    @property
    def journal(self) -> Path:
        """The journal's database."""
        return self.folder / "journal.sqlite"

    def objects(self) -> Iterator[tuple[Digest, Path, os.stat_result]]:
        """Yield every artefact's content, file and status."""
        return self._files("objects", ".safetensors")

    def actions(self) -> Iterator[tuple[Digest, Path, os.stat_result]]:
        """Yield every action, its file and the file's status."""
        return self._files("actions", ".json")

    def leftovers(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield files that were being written, here now or once by a process that was killed."""
        for part in ("objects", "actions"):
            for path in sorted((self.folder / part).glob(f"*/.*{PART}")):
                if (status := _status(path)) is not None:
                    yield path, status

    def _files(self, part: str, suffix: str) -> Iterator[tuple[Digest, Path, os.stat_result]]:
        for path in sorted((self.folder / part).glob(f"*/*{suffix}")):
            if not path.name.startswith(".") and (status := _status(path)) is not None:
                yield path.name.removesuffix(suffix), path, status


def read_entry(path: Path) -> Entry | None:
    """Read an action's file; None where it is damaged.

    Raises
    ------
    FileNotFoundError
    """
    try:
        return Entry.read(path.read_bytes())
    except ValueError:
        return None


def _status(path: Path) -> os.stat_result | None:
    """A file's status; None where it went away while the folder was read."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
