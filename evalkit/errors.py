"""Errors that a user can act on: one line that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class EvalkitError(Exception):
    """Base of every error that evalkit raises on purpose; the command line prints it as one line."""


class InputError(EvalkitError):
    """Input from outside is wrong: a spec, a data set, a parameter. The command line exits with 2."""


class InputErrors(InputError):
    """Every fault found in one input, reported together.

    Parameters
    ----------
    faults : sequence of str
        One line a fault.
    places : sequence of tuple, optional
        Where in the input each fault lies, so that whoever read it from a file can name the line.
    """

    def __init__(self, faults: Sequence[str], places: Sequence[tuple[str | int, ...]] = ()) -> None:
        self.faults = tuple(faults)
        self.places = tuple(places)
        named = [".".join(map(str, place)) for place in self.places]
        lines = [f"{n}: {f}" for n, f in zip(named, self.faults, strict=True)] if named else list(self.faults)
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[InputErrors], tuple[tuple[str, ...], tuple[tuple[str | int, ...], ...]]]:
        return type(self), (self.faults, self.places)


class MissingModel(InputError):
    """A model is neither in a folder, nor in the Hugging Face cache, nor in an installed package."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` or, where nothing is near, the list of what is known."""
    names = sorted(known)
    folded = {n.casefold(): n for n in names}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{folded[close[0]]}'?"
    return f"; known: {', '.join(names)}" if names else ""
