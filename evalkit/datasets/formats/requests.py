"""Logs of requests as traffic: who asked what and when, or, of a trace, only when and how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import READERS, records
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.formats.times import Moment, moment, seconds
from evalkit.datasets.rows import Faults, Row

_NAMES: dict[str, Sequence[str]] = {
    "at": ("timestamp", "time", "arrived_at", "arrived"),
    "user": ("user_id",),
    "tenant": ("tenant_id",),
    "text": ("query", "question", "prompt", "user_input"),
    "intent": (),
    "answer": (),
    "kind": (),
    "conversation": ("conversation_id", "session_id"),
    "turn": (),
    "prompt_tokens": ("context_tokens", "input_tokens"),
    "answer_tokens": ("generated_tokens", "output_tokens", "completion_tokens"),
}
"""Columns of `Traffic`, and what else logs call them."""

_IDS = ("user", "tenant", "intent", "conversation")
_COUNTS = ("turn", "prompt_tokens", "answer_tokens")


def _read(source: Source) -> Dataset:
    """Read a log (CSV, JSON, JSON Lines, Parquet) into a data set that has traffic and nothing else.

    Columns are found by the names of `Traffic`'s or by others that are in use (``timestamp``, ``prompt``,
    ``session_id``, ``ContextTokens``, ...); ``source.columns`` says which is which where that is not enough, and all
    other columns are left out. Every request has a text or token counts: a trace of token counts alone is traffic
    too. An answer in a log is taken for the right one, so what a model has said is not read as one. Ids may be
    numbers.

    Times are seconds from the start (numbers); seconds since 1970 (numbers from a billion on) or ISO 8601 times, with
    a zone or without, which both count from the earliest request. A log has one kind of them.

    Raises
    ------
    InputErrors
        Every fault in the file at once, with its line.

    References
    ----------
    Patel et al., *Splitwise: Efficient generative LLM inference using phase splitting*, ISCA 2024 (the traces of
    tokens that this reads as they are).
    """
    path, faults = source.path, Faults()
    rows = list(records(path, faults))
    names = source.match(_NAMES, dict.fromkeys([*source.keys(), *(key for _, row in rows for key in row)]), faults)
    faults.check()
    if not rows:
        faults.add(str(path), "holds no request")
    elif not names.keys() & {"text", "prompt_tokens", "answer_tokens"}:
        faults.add(str(path), "no column with texts or token counts; name it: columns={'text': ...}")
    faults.check()
    requests = _requests([Row(where, _cells(row, names)) for where, row in rows], faults)
    return source.cut(build(path.stem, traffic=requests, faults=faults))


def _cells(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the cells that hold something, under the names of `Traffic`'s columns."""
    cells = ((here, row.get(there)) for here, there in names.items())
    return {here: cell for here, cell in cells if cell not in (None, "") and not _is_nan(cell)}


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _requests(rows: Sequence[Row], faults: Faults) -> Iterator[Row]:
    """Check every cell; yield the requests that are sound."""
    found: list[tuple[Row, Moment]] = []
    for where, cells in rows:
        before = len(faults.lines)
        at = _moment(where, cells.get("at"), faults)
        if at is not None and found and at.kind != found[0][1].kind:
            faults.add(where, f"{cells['at']} is a {at.kind}, but {found[0][0].where} has a {found[0][1].kind}")
        ids = {name: _id(cells[name]) for name in _IDS if name in cells}
        counts = {name: _count(where, name, cells[name], faults) for name in _COUNTS if name in cells}
        if at is not None and len(faults.lines) == before:
            found.append((Row(where, {**cells, **ids, **counts}), at))
    times = seconds([at for _, at in found])
    return (Row(where, {**cells, "at": at}) for ((where, cells), _), at in zip(found, times, strict=True))


def _moment(where: str, cell: Any, faults: Faults) -> Moment | None:
    try:
        return moment(cell)
    except ValueError as error:
        faults.add(where, "request without a time" if cell is None else f"time {str(cell)!r}: {error}")
        return None


def _id(cell: Any) -> Any:
    """Return a whole number as a text; all else as it is."""
    whole = isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell // 1
    return str(int(cell)) if whole else cell


def _count(where: str, name: str, cell: Any, faults: Faults) -> int:
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(cell, bool) or not number.is_integer() or number < 0:
        faults.add(where, f"{name} {cell!r} is not a whole number from 0")
        return 0
    return int(number)


def _fits(source: Source) -> bool:
    path: Path = source.path
    if source.scheme or path.suffix.lower() not in READERS or not path.is_file():
        return False
    return "at" in source.match(_NAMES, source.keys(), Faults())


FORMAT = Format("a file with times (a log of requests)", _fits, _read)
