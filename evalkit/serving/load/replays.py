"""Running a load: every service meets the same traffic and is held to the same targets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from evalkit import fingerprint
from evalkit.datasets import Dataset, load_dataset
from evalkit.evaluate.manifest import commit
from evalkit.machine import machine, versions
from evalkit.paths import resolve, results_dir, store_dir
from evalkit.progress import progress
from evalkit.serving.arrivals import Arrival, ClosedLoop
from evalkit.serving.load.capacity import Capacity, highest_rate
from evalkit.serving.load.load import Load
from evalkit.serving.load.traffics import Recorded, before
from evalkit.serving.replay import replay
from evalkit.serving.results.outcomes import Replay
from evalkit.store import DiskStore
from evalkit.store.folders import FolderKind
from evalkit.types import Store

if TYPE_CHECKING:
    import os

    import pandas as pd

_KIND = "evalkit load"
_TABLES = ("summary.csv", "targets.csv", "rates.csv", "trials.csv")
LOADS = FolderKind("a load's results", (*_TABLES, "replays", "plots", "report.html"), frozenset({_KIND}))
"""A folder of a load's results."""


@dataclass(frozen=True, eq=False)
class Replays(Mapping[str, Replay]):
    """What became of a load: a replay by each service's label.

    Parameters
    ----------
    load : Load
    by_label : {label: Replay}
    rates : {label: Capacity}
        Where the highest rate was searched for.
    manifest : mapping
        Spec, data, versions, machine, when and how long.
    """

    load: Load
    by_label: Mapping[str, Replay] = field(repr=False)
    rates: Mapping[str, Capacity]
    manifest: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, label: str) -> Replay:
        return self.by_label[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_label)

    def __len__(self) -> int:
        return len(self.by_label)

    def __repr__(self) -> str:
        from evalkit.evaluate.show import text
        from evalkit.serving.load.telling import grids

        return "\n\n".join(text(grid) for grid in grids(self))

    def _repr_html_(self) -> str:
        from evalkit.evaluate.show import table_html
        from evalkit.serving.load.telling import grids

        return "".join(table_html(grid) for grid in grids(self))

    @cached_property
    def digest(self) -> str:
        """Hash of the spec, of every outcome and of the rates found."""
        rates = [(label, c.rate, c.low, c.high, c.broke) for label, c in self.rates.items()]
        found = {label: seen.digest for label, seen in self.items()}
        return fingerprint.digest([self.load.plain(), self.manifest["data"]["digest"], found, repr(rates)])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """``service`` and the columns of `Replay.summary`."""
        return _stacked({label: seen.summary for label, seen in self.items()})

    @cached_property
    def targets(self) -> pd.DataFrame:
        """``service`` and the columns of `Replay.check`; no row without targets."""
        if self.load.targets is None:
            return _stacked({})
        return _stacked({label: seen.check(self.load.targets) for label, seen in self.items()})

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of `targets` that failed, by the load's level where a target has three."""
        rows = self.targets
        if rows.empty:
            return rows
        return rows[(rows["verdict"] == "fail") & rows["level"].isin(("limit", self.load.level))]

    @cached_property
    def found_rates(self) -> pd.DataFrame:
        """The highest rates, a row a service: ``service, rate, low, high, missed, broke, share, notes, origin``."""
        import pandas as pd

        rows = [
            (label, c.rate, c.low, c.high, ", ".join(c.missed), c.broke, c.share, "; ".join(c.notes), c.origin)
            for label, c in self.rates.items()
        ]
        columns = ["service", "rate", "low", "high", "missed", "broke", "share", "notes", "origin"]
        return pd.DataFrame(rows, columns=columns)

    def save(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write everything, whole or not at all.

        Tables are CSV; each service's replay is a folder below ``replays``, as `Replay.save` writes it.

        Parameters
        ----------
        folder : path, optional
            Default: ``results/<name>``. What an earlier run of a load left there is replaced.

        Raises
        ------
        InputError
            If it holds other things, or cannot be written.
        """
        target = (resolve(folder) if folder is not None else results_dir() / self.load.name).resolve()
        LOADS.replace(target, self._write)
        return target

    def _write(self, folder: Path) -> None:
        trials = _stacked({label: found.frame for label, found in self.rates.items()})
        for name, table in zip(_TABLES, (self.summary, self.targets, self.found_rates, trials), strict=True):
            if not table.empty:
                table.to_csv(folder / name, index=False)
        for label, place in places(self).items():
            self[label].save(folder / "replays" / place, note={"service": label})
        text = json.dumps({_KIND: 1, **self.manifest, "digest": self.digest}, indent=1, ensure_ascii=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def places(labels: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of each label's folder: its letters and digits, numbered where two are alike."""
    found: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.")[:80] or "service"
        name, count = plain, 2
        while name.casefold() in {taken.casefold() for taken in found.values()}:
            name, count = f"{plain}-{count}", count + 1
        found[label] = name
    return found


def check_traffic(load: Load, data: Dataset) -> None:
    """Refuse a load whose traffic the data set cannot give, or that has less than a search needs.

    Raises
    ------
    InputError
    """
    load.traffic.of(data)


def run_load(load: Load, data: Dataset | None = None, *, store: Store | None = None) -> Replays:
    """Send a load's traffic through each of its services and, where it says so, search for their highest rates.

    Parameters
    ----------
    load : Load
    data : Dataset, optional
        Default: the one that the load names.
    store : Store, optional
        Default: the project's.

    Returns
    -------
    Replays
        A mapping of label to `Replay`.

    Raises
    ------
    InputError
        If the data set has not what the traffic asks for; nothing has been run then.
    EvalkitError
        If work fails.
    """
    data = data if data is not None else load_dataset(load.dataset, split=load.split)
    store = store if store is not None else DiskStore(store_dir())
    traffic, started, began = load.traffic.of(data), datetime.now(UTC), time.perf_counter()
    warm = before(data, load.traffic, load.warm) if isinstance(load.traffic, Recorded) else []
    events = load.traffic.events(data) if load.events and isinstance(load.traffic, Recorded) else ()
    found: dict[str, Replay] = {}
    with progress("replay", total=len(load.services)) as bar:
        for label, service in load.services.items():
            bar.set_postfix_str(label)
            found[label] = replay(
                service, data, traffic, clock=load.clock, cores=load.cores, cost=load.cost, events=events, warm=warm,
                patience=load.patience, seed=load.seed, store=store,
            )  # fmt: skip
            bar.update()
    rates = {} if load.rate is None else _rates(load, data, traffic, warm, store)
    described = {"name": data.name, "digest": data.digest}
    manifest = {
        "spec": load.plain(),
        "data": {**described, "documents": len(data.documents), "queries": len(data.queries)},
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 3),
    }
    return Replays(load, found, rates, manifest)


def _rates(
    load: Load, data: Dataset, traffic: list[Arrival] | ClosedLoop, warm: list[Arrival], store: Store
) -> dict[str, Capacity]:
    how = load.rate
    if how is None or load.targets is None or isinstance(traffic, ClosedLoop):
        return {}
    return {
        label: highest_rate(
            service, data, traffic, load.targets, level=load.level, arrivals=how.arrivals, requests=how.requests,
            seeds=how.seeds, between=cast("tuple[float, float]", how.between), tolerance=how.tolerance,
            settle=how.settle, cores=load.cores, cost=load.cost, warm=warm, patience=load.patience, store=store,
        )
        for label, service in load.services.items()
    }  # fmt: skip


def _stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    if not tables:
        return pd.DataFrame()
    labelled = [table.assign(service=label) for label, table in tables.items()]
    whole = pd.concat(labelled, ignore_index=True)
    return whole[["service", *whole.columns.drop("service")]]
