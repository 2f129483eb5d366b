"""What is wrong with a sweep, and where in it."""

from __future__ import annotations

from evalkit.errors import InputErrors

Place = tuple[str | int, ...]


class Faults:
    """Faults that are told together."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._lines: list[str] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, place: Place, what: str) -> None:
        """Note a fault; checking goes on, so that all are found."""
        if (place, what) not in zip(self._places, self._lines, strict=True):
            self._places.append(place)
            self._lines.append(what)

    def check(self) -> None:
        """Raise what was noted.

        Raises
        ------
        InputErrors
            If anything was.
        """
        if self._lines:
            raise InputErrors(self._lines, self._places)
