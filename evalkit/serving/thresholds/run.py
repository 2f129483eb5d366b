"""Running a certification: the traffic's calls, the decisions of every setting, and the certificate."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from evalkit.datasets import Dataset, load_dataset
from evalkit.datasets.traffic import Ingestion
from evalkit.errors import InputError, InputErrors
from evalkit.evaluate.manifest import commit
from evalkit.machine import machine, versions
from evalkit.paths import store_dir
from evalkit.progress import progress
from evalkit.serving.arrivals import Arrival
from evalkit.serving.replay import replay
from evalkit.serving.results.outcomes import Replay
from evalkit.serving.thresholds.certificates import certify
from evalkit.serving.thresholds.certification import Certification
from evalkit.serving.thresholds.results import Certified
from evalkit.serving.thresholds.splits import Split
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.store import DiskStore
from evalkit.types import Store

_ASKED = ("budget", "of", "level", "clusters", "dev_level")


class Needs(NamedTuple):
    """What a certification takes from its data set.

    Parameters
    ----------
    traffic : list of Arrival
    events : tuple of Ingestion
    split : Split
    """

    traffic: list[Arrival]
    events: tuple[Ingestion, ...]
    split: Split


def check_certification(certification: Certification, data: Dataset) -> Needs:
    """Refuse a certification for which the data set has not what it needs, before any work is done.

    Raises
    ------
    InputErrors
        With the certification's fields as places.
    """
    faults: list[tuple[str, str]] = []
    found = None
    try:
        traffic = certification.traffic.of(data)
        try:
            found = Needs(traffic, _events(certification, data), certification.split.of(traffic, data))
        except InputError as error:
            faults.append(("split", str(error)))
    except InputError as error:
        faults.append(("traffic", str(error)))
    faults += _cannot_decide(certification, data)
    if faults or found is None:
        raise InputErrors([what for _, what in faults], [(key,) for key, _ in faults])
    return found


def _events(certification: Certification, data: Dataset) -> tuple[Ingestion, ...]:
    return certification.traffic.events(data) if certification.events else ()


def _cannot_decide(certification: Certification, data: Dataset) -> list[tuple[str, str]]:
    """Say why the caches cannot decide with what is given."""
    cache, variant = certification.cache, certification.variant
    if variant is not None:
        try:
            for each in certification.caches.values():
                each.vectors(variant.nodes())
        except InputError as error:
            return [("cache", str(error))]
        return []
    guards = set(certification.guards) if certification.guards else {cache.guard}
    ends = bool(_events(certification, data)) and cache.until == "ingestion touches it" and guards != {"corpus"}
    if "context" in guards or ends:
        why = "guard 'context'" if "context" in guards else "documents that come in end answers"
        return [("variant", f"says which documents an answer rests on, and that is asked for ({why}); give it")]
    return []


def run_certification(
    certification: Certification, data: Dataset | None = None, *, store: Store | None = None
) -> Certified:
    """Replay the traffic's calls, let every setting decide, and certify one.

    Parameters
    ----------
    certification : Certification
    data : Dataset, optional
        Default: the one that the certification names.
    store : Store, optional
        Default: the project's.

    Returns
    -------
    Certified

    Raises
    ------
    InputErrors
        If the data set has not what the certification asks for; nothing has been run then.
    EvalkitError
        If work fails.
    """
    data = data if data is not None else load_dataset(certification.dataset)
    store = store if store is not None else DiskStore(store_dir())
    traffic, events, split = check_certification(certification, data)
    started, began = datetime.now(UTC), time.perf_counter()
    with progress("certify", total=len(certification.caches) + 2) as bar:
        bar.set_postfix_str("calls")
        calls = _calls(certification, data, traffic, events, store)
        bar.update()
        sweeps = {}
        for label, cache in certification.caches.items():
            bar.set_postfix_str(label)
            sweeps[label] = threshold_sweep(
                traffic, certification.every_rule, ttls=certification.ttls or None,
                guards=certification.guards or None, cache=cache, calls=calls, variant=certification.variant,
                data=data, events=events, store=store,
            )  # fmt: skip
            bar.update()
        bar.set_postfix_str("certificate")
        asked = {name: getattr(certification, name) for name in _ASKED}
        made = certify(sweeps, dev=split.dev, test=split.test, **asked)
        bar.update()
    manifest = {
        "spec": certification.plain(),
        "asked": asked,
        "data": {
            "name": data.name,
            "digest": data.digest,
            "documents": len(data.documents),
            "requests": len(traffic),
        },
        "unanswered": int(np.isnan(next(iter(sweeps.values())).seconds).sum()),
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 3),
    }
    return Certified(made, manifest)


def _calls(
    certification: Certification,
    data: Dataset,
    traffic: list[Arrival],
    events: tuple[Ingestion, ...],
    store: Store,
) -> Replay | float:
    """Return what the model's calls take: as stated, or of a replay without the cache."""
    if certification.calls is not None:
        return certification.calls
    if certification.variant is None:
        raise InputError("certification: there is no variant whose calls could be replayed; give it, or calls")
    return replay(
        certification.variant, data, traffic, cost=certification.cost, cores=certification.cores, events=events,
        seed=certification.seed, store=store,
    )  # fmt: skip
