"""A replay on disk: a folder of Parquet, CSV and JSON that is written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evalkit._version import __version__
from evalkit.columns import Array, Strings
from evalkit.paths import resolve
from evalkit.serving.results.flat import Columns, Flat
from evalkit.serving.results.outcomes import Replay
from evalkit.store.folders import MANIFEST, FolderKind

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Version of the layout; a folder of another one is not read."""
_KIND = "evalkit replay"
_TABLES = ("requests", "events", "calls", "answers")
_READABLE = ("summary.csv", "per_request.csv", "per_second.csv", "caching.csv")
REPLAY = FolderKind("a replay", (*_READABLE, *(f"{name}.parquet" for name in _TABLES)), frozenset({_KIND}), "replay")
"""A folder of one replay."""


def save(replay: Replay, folder: str | os.PathLike[str], note: Mapping[str, Any] | None = None) -> Path:
    """Write a replay into a folder; one that was saved there before is replaced in one step.

    Parquet files hold what `load` reads: outcomes, events, calls and answers. CSV files hold the tables that follow
    from these, for other programs to read. The manifest says the origin of the numbers and the digest of it all.

    Parameters
    ----------
    replay : Replay
    folder : path
    note : mapping, optional
        JSON-ready, for the manifest: what was replayed, where, with which versions.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If it is a file, or holds something else; nothing is changed then.
    """
    target = resolve(folder).resolve()
    REPLAY.replace(target, lambda part: _write(replay, part, dict(note or {})))
    return target


def _write(replay: Replay, folder: Path, note: dict[str, Any]) -> None:
    write_tables(replay, folder)
    tables = (replay.summary, replay.per_request, replay.per_second(_width(replay)), replay.caching)
    for name, table in zip(_READABLE, tables, strict=True):
        table.to_csv(folder / name, index=False)
    text = json.dumps(manifest(replay, note), indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def write_tables(replay: Replay, folder: Path) -> None:
    """Write what cannot be worked out again: outcomes, events, calls and answers."""
    import pyarrow.parquet as pq

    flat = Flat.of([*replay.warm, *replay.outcomes]) if replay.warm else replay.flat
    for name, table in _tables(flat).items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def manifest(replay: Replay, note: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a folder says of the replay that it holds."""
    return {
        _KIND: FORMAT, "evalkit": __version__, "origin": replay.origin, "start": replay.start,
        "failures": dict(replay.failures), "requests": len(replay.outcomes), "warm": len(replay.warm),
        "digest": replay.digest, "unpriced": dict(replay.unpriced), "note": dict(note or {}),
    }  # fmt: skip


def _width(replay: Replay) -> float:
    """Seconds of a row of the saved table: 1, or so many that a long replay has no more than 100,000 rows."""
    last = max((outcome.ended for outcome in replay.outcomes), default=replay.start) - replay.start
    return float(max(1, np.ceil(last / 100_000)))


def _tables(flat: Flat) -> dict[str, pa.Table]:
    import pyarrow as pa

    names, numbers = pa.array(list(flat.names), pa.string()), cast("Array", flat.requests["number"])
    coded = {n: pa.DictionaryArray.from_arrays(pa.array(flat.events[n]), names) for n in ("name", "kind")}
    times = {n: flat.events[n] for n in ("start", "began", "end")}
    offsets = np.concatenate([[0], np.cumsum(cast("Array", flat.calls["pieces"]))]).astype(np.int64)
    pieces = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat.times))
    return {
        "requests": pa.table({name: _array(column) for name, column in flat.requests.items()}),
        "events": pa.table({"request": numbers[flat.request], **coded, **times}),
        "calls": pa.table({"call": _array(flat.calls["call"]), "pieces": pieces}),
        "answers": pa.table({name: _array(column) for name, column in flat.answers.items()}),
    }


def _array(column: Strings | Array) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(column), pa.string()) if isinstance(column, Strings) else pa.array(column)


def load(folder: str | os.PathLike[str]) -> Replay:
    """Read a replay that `save` wrote.

    Raises
    ------
    InputError
        If the folder holds none, one of another format, or one that is damaged.
    """

    def read(place: Path, said: dict[str, Any]) -> Replay:
        outcomes, warm = _read(place).outcomes(), int(said["warm"])
        origin, start, failures = (said[name] for name in ("origin", "start", "failures"))
        return Replay(outcomes[warm:], origin, start, failures, outcomes[:warm])

    return REPLAY.load(folder, _KIND, FORMAT, read)


def _read(folder: Path) -> Flat:
    import pyarrow.parquet as pq

    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in _TABLES}
    texts = {name: tables["events"][name].to_pylist() for name in ("name", "kind")}
    names = {name: i for i, name in enumerate(dict.fromkeys([*texts["name"], *texts["kind"]]))}
    codes = {name: np.array([names[text] for text in column], np.int64) for name, column in texts.items()}
    pieces = tables["calls"]["pieces"].combine_chunks()
    calls: Columns = {"call": _column(tables["calls"]["call"]), "pieces": pieces.value_lengths().to_numpy()}
    return Flat(
        {name: _column(tables["requests"][name]) for name in tables["requests"].column_names},
        codes | {name: tables["events"][name].to_numpy() for name in ("start", "began", "end")},
        Strings.of(names), calls, pieces.flatten().to_numpy(),
        {name: _column(tables["answers"][name]) for name in tables["answers"].column_names},
    )  # fmt: skip


def _column(column: pa.ChunkedArray) -> Strings | Array:
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return Strings.of(column.to_pylist())
    values: Array = column.to_numpy()
    return values
