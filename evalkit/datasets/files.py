"""Files as records: numbered lines, JSON, CSV and Parquet, each record with the place that an error names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.datasets.rows import Faults, Row
from evalkit.errors import nearest

_MARK, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


def lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """Yield numbered lines that are not blank. A byte-order mark is accepted, any other encoding is not."""
    count = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    line = raw.removeprefix(_MARK).decode() if number == 1 else raw.decode()
                except UnicodeDecodeError as error:
                    count += 1
                    if number == 1 and raw.startswith(_UTF16):
                        faults.add(f"{path}:1", "UTF-16; save the file as UTF-8")
                        break
                    faults.add(f"{path}:{number}", f"not UTF-8 (byte {error.start + 1} of the line)")
                    continue
                if line and not line.isspace():
                    count += 1
                    if wrong := _unseen(raw, number):
                        faults.add(f"{path}:{number}", wrong)
                    else:
                        yield number, line
        if not count:
            faults.add(str(path), "is empty")
    except OSError as error:
        faults.add(str(path), f"cannot be read ({error.strerror})")


def _unseen(raw: bytes, number: int) -> str:
    """Tell of what an editor does not show; empty if there is none of it."""
    if number > 1 and raw.startswith(_MARK):
        return "begins with a byte-order mark, which belongs at most at the file's start; remove it"
    if b"\0" in raw:
        return f"holds a NUL byte (byte {raw.index(0) + 1} of the line); remove it"
    if raw.find(b"\r", 0, -2) >= 0:
        return "holds a carriage return; lines end with LF or CR LF"
    return ""


def whole_text(path: Path, faults: Faults) -> str | None:
    """Read a file; every kind of line end is one character, a byte-order mark is none."""
    try:
        return path.read_text(encoding="utf-8").removeprefix("\ufeff")
    except OSError as error:
        faults.add(str(path), f"cannot be read ({error.strerror})")
    except UnicodeDecodeError as error:
        faults.add(str(path), f"not UTF-8 (byte {error.start + 1})")
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def json_lines(path: Path, faults: Faults) -> Iterator[Row]:
    """Yield the objects of a JSON Lines file."""
    for number, line in lines(path, faults):
        try:
            row: Any = _JSON.decode(line)
        except json.JSONDecodeError as error:
            faults.add(f"{path}:{number}", f"broken JSON ({error.msg}, character {error.pos + 1})")
            continue
        except (ValueError, RecursionError) as error:
            faults.add(f"{path}:{number}", f"broken JSON ({error})")
            continue
        if isinstance(row, dict):
            yield Row(f"{path}:{number}", row)
        else:
            faults.add(f"{path}:{number}", f"a JSON object is needed, not {type(row).__name__}")


def json_list(path: Path, faults: Faults) -> Iterator[Row]:
    """Yield the objects of a file with one JSON list."""
    text = whole_text(path, faults)
    if text is None:
        return
    try:
        items: Any = _JSON.decode(text)
    except json.JSONDecodeError as error:
        faults.add(f"{path}:{error.lineno}", f"broken JSON ({error.msg}, column {error.colno})")
        return
    except (ValueError, RecursionError) as error:
        faults.add(str(path), f"broken JSON ({error})")
        return
    if not isinstance(items, list):
        faults.add(str(path), f"a JSON list of objects is needed, not {type(items).__name__}")
        return
    for number, item in enumerate(items, start=1):
        if isinstance(item, dict):
            yield Row(f"{path}: item {number}", item)
        else:
            faults.add(f"{path}: item {number}", f"a JSON object is needed, not {type(item).__name__}")


def csv_rows(path: Path, faults: Faults, needed: Sequence[str] = ()) -> Iterator[Row]:
    """Yield every row under its header, with the line on which it begins."""
    text = whole_text(path, faults)
    if text is None:
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            faults.add(where, f"broken CSV ({error})")
            return
        if cells is None:
            break
        if header is None:
            header = [cell.strip() for cell in cells]
            missing = [column for column in needed if column not in header]
            for column in missing:
                faults.add(where, f"no column '{column}'{nearest(column, header)}")
            if missing:
                return
        elif cells and len(cells) != len(header):
            faults.add(where, f"{len(cells)} cells; the header has {len(header)}")
        elif cells:
            yield Row(where, dict(zip(header, cells, strict=True)))
    if header is None:
        faults.add(str(path), "is empty")


def parquet_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Yield every row of a Parquet file; missing values are left out."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        number = 0
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                for record in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}: row {number}", {k: v for k, v in record.items() if v is not None})
    except (OSError, ArrowException) as error:
        faults.add(str(path), f"cannot be read as Parquet ({str(error).splitlines()[0]})")


READERS = {".jsonl": json_lines, ".json": json_list, ".csv": csv_rows, ".parquet": parquet_rows}
"""How a file of records is read, by its ending."""


def records(path: Path, faults: Faults) -> Iterator[Row]:
    """Yield the records of a file in any of the forms of `READERS`."""
    return READERS[path.suffix.lower()](path, faults)
