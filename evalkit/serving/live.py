"""Which variant is live: one small file with its history, replaced in one step."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, InputError
from evalkit.forms import Reader, build, plain_fields
from evalkit.store.files import alone
from evalkit.types import Digest
from evalkit.variants import Variant, components

_FORMAT = 1


@dataclass(frozen=True)
class Went:
    """When a variant went live.

    Parameters
    ----------
    fingerprint : str
    variant : dict
        As a spec writes it.
    at : str
        ISO date and time, UTC.
    """

    fingerprint: Digest
    variant: dict[str, Any]
    at: str


class Live:
    """The pointer to the live variant, in a folder of its own.

    Parameters
    ----------
    folder : path
        Created when a variant first goes live. It holds ``live.json`` and nothing else.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.file = Path(folder) / "live.json"

    @property
    def history(self) -> tuple[Went, ...]:
        """Every variant that went live, the oldest first; the last one is live. Empty where none has.

        Raises
        ------
        EvalkitError
            If the file is not one that this class wrote.
        """
        try:
            written = json.loads(self.file.read_bytes())
            if written["format"] != _FORMAT:
                raise ValueError(written["format"])
            return tuple(Went(**entry) for entry in written["history"])
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvalkitError(f"{self.file}: not a pointer to a live variant ({error}); move it away") from None

    def variant(self, known: Iterable[Variant] = ()) -> Variant | None:
        """Return the live variant: the one of `known` that it is, else as its spec says; None where none is live.

        Raises
        ------
        EvalkitError
            If it is none of `known` and its spec no longer makes what it was.
        """
        if not (history := self.history):
            return None
        last = history[-1]
        for variant in known:
            if variant.fingerprint == last.fingerprint:
                return variant
        reader = Reader(components())
        made = build(last.variant, Variant, reader)
        if reader.faults or made.fingerprint != last.fingerprint:
            why = reader.faults[0] if reader.faults else "a model or a stage has changed since"
            raise EvalkitError(f"{self.file}: the live variant cannot be made again ({why})")
        return made  # type: ignore[no-any-return]

    def point(self, variant: Variant, instead_of: Digest) -> None:
        """Let a variant go live in the place of another; does nothing where it is live already.

        Raises
        ------
        InputError
            If yet another variant is live.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with alone(self.file.parent):  # readers need no lock
            history = self.history
            now = history[-1].fingerprint if history else instead_of
            if now == variant.fingerprint:
                return
            if now != instead_of:
                raise InputError(f"{self.file}: another variant is live ({now}); this one replaces {instead_of}")
            at = datetime.now(UTC).isoformat(timespec="seconds")
            self._write([*history, Went(variant.fingerprint, plain_fields(variant), at)])

    def _write(self, history: Iterable[Went]) -> None:
        text = json.dumps({"format": _FORMAT, "history": [asdict(entry) for entry in history]}, indent=1)
        handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())  # no checksum could make this file anew
            os.replace(name, self.file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
