"""Examples that a rule or a check learns from, in a file of JSON Lines, which are identified by what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from evalkit.errors import InputError, InputErrors
from evalkit.paths import find

E = TypeVar("E")


@dataclass(frozen=True)
class JSONLinesFile(Generic[E]):
    """Examples, one a line; a kind of file says what one is.

    Parameters
    ----------
    path : str
        From the working folder or the project's root. The content is part of the identity, the place is not.

    Raises
    ------
    InputErrors
        For every line that is no example.
    """

    path: str

    wanted: ClassVar[str]
    """What a line has to be, for errors."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_examples", self._read())

    @staticmethod
    def example(row: Mapping[str, Any]) -> Any:
        """Return the example that a line states; a ValueError, TypeError or KeyError if it states none."""
        raise NotImplementedError

    @property
    def examples(self) -> tuple[E, ...]:
        """What the file held when it was read."""
        found: tuple[E, ...] = vars(self)["_examples"]
        return found

    def identity(self) -> dict[str, Any]:
        """What the path stands for."""
        return {"path": [[*vars(example).values()] for example in self.examples]}

    def _read(self) -> tuple[E, ...]:
        try:
            lines = find(self.path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{self.path}: cannot be read as UTF-8 ({type(error).__name__}); name a file of JSON Lines"
            ) from None
        found, faults = [], []
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    found.append(self.example(json.loads(line)))
                except (ValueError, TypeError, KeyError, InputError) as error:
                    faults.append(f"{self.path}:{number}: {self.wanted} ({type(error).__name__})")
        if faults:
            raise InputErrors(faults)
        return tuple(found)
