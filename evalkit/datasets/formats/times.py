"""Times in logs: numbers of seconds, ISO 8601 texts, and what Parquet holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_FRACTION = re.compile(r"(.*[0-9]{2}:?[0-9]{2}:?[0-9]{2})[.,]([0-9]+)(.*)")
_UNIX = 1e9
_MILLISECONDS = 1e11


class Moment(NamedTuple):
    """A time in a log.

    Parameters
    ----------
    kind : str
        Times of different kinds cannot be compared.
    value : float or int
        Seconds of a number, nanoseconds since 1970 of a time: a float would lose the last digits of those.
    """

    kind: Literal["number", "time with a zone", "time without a zone"]
    value: float | int


def moment(cell: Any) -> Moment:
    """Read a time.

    Raises
    ------
    ValueError
        If it is none, or a number below 0 or too large for seconds.
    """
    if isinstance(cell, datetime):
        return _of_datetime(cell, getattr(cell, "nanosecond", 0))  # which pandas has beyond microseconds
    if isinstance(cell, str) and not _NUMBER.fullmatch(cell):
        parts = _FRACTION.fullmatch(cell.strip())
        whole, fraction = (parts[1] + parts[3], parts[2]) if parts else (cell.strip(), "")
        try:
            return _of_datetime(datetime.fromisoformat(whole), int(fraction[:9].ljust(9, "0")))
        except ValueError:
            raise ValueError("neither seconds nor an ISO 8601 time") from None
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        raise ValueError("neither seconds nor an ISO 8601 time")
    number = float(cell) if isinstance(cell, str) or abs(cell) < _MILLISECONDS else _MILLISECONDS
    if not 0 <= number < _MILLISECONDS:
        raise ValueError("seconds lie between 0 and 100 billion" + ("; are these milliseconds?" * (number > 0)))
    return Moment("number", number)


def _of_datetime(time: datetime, nanoseconds: int) -> Moment:
    since = time - datetime(1970, 1, 1, tzinfo=UTC if time.tzinfo else None)
    whole = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000
    return Moment("time with a zone" if time.tzinfo else "time without a zone", whole + nanoseconds)


def seconds(moments: Sequence[Moment]) -> list[float]:
    """Return seconds from the start: times count from the earliest, and so do numbers that are seconds since 1970."""
    if not moments:
        return []
    first = min(m.value for m in moments)
    if moments[0].kind == "number":
        return [m.value - first if first >= _UNIX else m.value for m in moments]
    return [(m.value - first) / 10**9 for m in moments]  # of whole numbers, so it is rounded once
