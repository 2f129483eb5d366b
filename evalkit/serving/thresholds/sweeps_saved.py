"""Sweeps on disk: the requests, and whose answer each would have been given under every setting."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from evalkit import fingerprint
from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.forms import Reader, build, plain
from evalkit.serving.arrivals import Arrival
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.splits import Split
from evalkit.serving.thresholds.swept import Setting, ThresholdSweep

REQUESTS, DECISIONS = "requests.parquet", "decisions.parquet"
_TEXTS = ("text", "user", "tenant", "conversation", "intent", "answer", "kind")
_NAMES = {kind.__name__: kind for kind in (Threshold, Verified)}


def described(sweeps: Mapping[str, ThresholdSweep]) -> list[dict[str, Any]]:
    """Return as plain data what is told of each sweep beside its decisions: label, origin and settings."""
    return [
        {
            "label": label,
            "origin": sweep.origin,
            "settings": [{"rule": plain(s.rule), "ttl": s.ttl, "guard": s.guard} for s in sweep.settings],
        }
        for label, sweep in sweeps.items()
    ]


def digest_of(sweeps: Mapping[str, ThresholdSweep], split: Split) -> str:
    """Hash of all requests, what each was given under which setting and would have taken, and on which side it is."""
    first = next(iter(sweeps.values()))
    settings = [[label, sweep.origin, list(sweep.settings)] for label, sweep in sweeps.items()]
    asked = [[a.at, *(getattr(a, name) for name in _TEXTS), a.history] for a in first.arrivals]
    found = hashlib.blake2b(fingerprint.digest([settings, asked]).encode(), digest_size=16)
    for array in (*split, *(a for s in sweeps.values() for a in (s.given_by, s.seconds, s.usd, s.failed))):
        found.update(f"{array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def write(sweeps: Mapping[str, ThresholdSweep], split: Split, folder: Path) -> None:
    """Write sweeps of the same requests as two Parquet files.

    Raises
    ------
    InputError
        If a sweep has precomputed entries, which are not kept, or other calls than the first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = next(iter(sweeps.values()))
    if any(sweep.precomputed for sweep in sweeps.values()):
        raise InputError("certification: a sweep with precomputed entries is not saved; keep its tables")
    for name in ("seconds", "usd", "failed"):
        rows = [np.asarray(getattr(sweep, name), dtype=np.float64) for sweep in sweeps.values()]
        if not all(np.array_equal(rows[0], row, equal_nan=True) for row in rows):
            raise InputError(f"certification: the sweeps differ in {name} of their calls; sweep with the same calls")
    texts = {name: [getattr(a, name) for a in first.arrivals] for name in _TEXTS}
    requests = {
        "at": [a.at for a in first.arrivals], **texts,
        "history": pa.array([list(a.history) for a in first.arrivals], pa.list_(pa.string())),
        "dev": split.dev, "test": split.test, "seconds": first.seconds, "usd": first.usd,
        "failed": first.failed,
    }  # fmt: skip
    decisions = {
        f"{number}.{setting}": row
        for number, sweep in enumerate(sweeps.values())
        for setting, row in enumerate(sweep.given_by)
    }
    pq.write_table(pa.table(requests), folder / REQUESTS, compression="zstd")
    pq.write_table(pa.table(decisions), folder / DECISIONS, compression="zstd")


def read(told: Sequence[Mapping[str, Any]], folder: Path) -> tuple[dict[str, ThresholdSweep], Split]:
    """Read what `write` wrote, with what `described` told of it."""
    import pyarrow.parquet as pq

    requests, decisions = (pq.read_table(folder / name) for name in (REQUESTS, DECISIONS))
    rows = requests.select(["at", *_TEXTS, "history"]).to_pylist()
    arrivals = [Arrival(**{**row, "history": tuple(row["history"])}) for row in rows]
    names = ("seconds", "usd", "failed", "dev", "test")
    seconds, usd, failed, dev, test = (requests[name].to_numpy() for name in names)
    found = {}
    for number, one in enumerate(told):
        settings = tuple(_setting(said) for said in one["settings"])
        given = [cast("Array", decisions[f"{number}.{i}"].to_numpy()) for i in range(len(settings))]
        found[one["label"]] = ThresholdSweep(
            arrivals, settings, np.stack(given), (), seconds, usd, one["origin"], failed
        )
    return found, Split(dev, test)


def _setting(said: Mapping[str, Any]) -> Setting:
    reader = Reader(_NAMES)
    setting = build(said, Setting, reader)
    if reader.faults:
        raise ValueError("; ".join(reader.faults))
    return cast("Setting", setting)
