"""Logging replays to MLflow: a parent run for the load, a child run for each service, so that services compare."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.forms import plain
from evalkit.progress import progress
from evalkit.serving.load.replays import Replays, places
from evalkit.spec import as_yaml
from evalkit.sweep import parameters
from evalkit.tracking import records
from evalkit.tracking.log import dataset_input, log_batch, parent_run, track_saved
from evalkit.tracking.place import VIEW
from evalkit.variants import Service, Variant

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SHOWN = ("p95", "first_token_q_0_95", "throughput", "answered", "hit_rate", "dollars_per1000", "highest_rate")


def track_replays(found: Replays, folder: Path | None = None) -> str:
    """Log a load's results to MLflow.

    A child run has its service's fields and the load's as parameters; as metrics every number of the summary, with
    the ends of its interval, the highest rate that was found and how many targets failed; as artifacts its tables.
    Results that are there already are not logged again; what an interrupted attempt left is removed first.

    Parameters
    ----------
    found : Replays
    folder : path, optional
        Where they are saved, with their plots. Default: they are saved under ``results/<name>`` first.

    Returns
    -------
    str
        Identity of the parent run.

    Raises
    ------
    InputError
        If the folder holds other results.
    EvalkitError
        If MLflow's store cannot be reached or written; results on disk are untouched then.
    """
    return track_saved(found, found.load.name, "load", folder, _log)


def _log(client: MlflowClient, experiment: str, found: Replays, place: Path) -> str:
    begun = round(datetime.fromisoformat(found.manifest["started"]).timestamp() * 1000)
    ended = begun + round(1000 * found.manifest["seconds"])
    shared = records.machine_tags(found.digest, found.manifest)
    data = dataset_input(records.dataset_of(found.manifest))
    tags = {**shared, "evalkit.role": "load", "mlflow.note.content": found.load.description}
    name = records.run_name(found.load.name)
    with parent_run(client, experiment, (begun, ended), tags, name) as parent:
        client.log_inputs(parent, [data])
        client.log_text(parent, as_yaml(found.load.plain()), "spec.yaml")
        _log_files(client, parent, place, place, "replays")
        shared = {**shared, "mlflow.parentRunId": parent, "mlflow.runType": "evaluation"}
        with progress("track", total=len(found)) as bar:
            for i, (label, folder) in enumerate(places(found).items()):
                start = begun + len(found) - i  # MLflow's pages list the latest run first
                own = {**shared, "evalkit.role": "service", "evalkit.variant": label, **service_tags(found, label)}
                run = client.create_run(experiment, start, own, records.run_name(label)).info.run_id
                log_batch(client, run, service_parameters(found, label), service_metrics(found, label), ended)
                _log_files(client, run, place / "replays" / folder, place / "replays" / folder, "")
                client.log_inputs(run, [data])
                client.set_terminated(run, "FINISHED", max(ended, start))
                bar.update()
        client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{VIEW}", records.view_of(list(_SHOWN)))
    return parent


def _log_files(client: MlflowClient, run: str, folder: Path, root: Path, without: str) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        below = path.parent.relative_to(root).as_posix()
        if not without or below.split("/")[0] != without:
            client.log_artifact(run, str(path), None if below == "." else below)


def service_metrics(found: Replays, label: str) -> dict[str, float]:
    """Return ``{name: number}``: the summary's numbers and the highest rate, with the ends of their intervals."""
    summary = found[label].summary
    rows = list(zip(summary["metric"], summary[["value", "low", "high"]].to_numpy().tolist(), strict=True))
    if (c := found.rates.get(label)) is not None:
        rows.append(("highest_rate", [c.rate, c.low, c.high]))
    metrics = {
        f"{records.metric_name(str(name))}{end}": float(number)
        for name, numbers in rows
        for end, number in zip(("", ".low", ".high"), numbers, strict=True)
        if math.isfinite(number)
    }
    if found.load.targets is not None:
        metrics["targets_failed"] = float((found.failed["service"] == label).sum())
    return metrics


def service_parameters(found: Replays, label: str) -> dict[str, str]:
    """Return the load's fields and the service's by dotted path; a layer's begin with its place in the list."""
    load, service = found.load, found.load.services[label]
    service = service if isinstance(service, Service) else Service(service)
    listed: dict[str, Any] = {
        **{name: getattr(load, name) for name in ("clock", "cores", "seed", "warm", "events", "patience")},
        "cost": load.cost, "traffic": plain(load.traffic), "side_by_side": service.side_by_side,
        **{f"variant.{path}": value for path, value in parameters(service.variant).items()},
    }  # fmt: skip
    for i, layer in enumerate(service.layers):
        listed[f"layers.{i}"] = type(layer).__name__
        listed |= {f"layers.{i}.{name}": value for name, value in _fields(layer).items()}
    return records.as_parameters(listed)


def service_tags(found: Replays, label: str) -> dict[str, str]:
    """Return who the service is, what broke first and which targets it missed."""
    service: Service | Variant = found.load.services[label]
    capacity, failed = found.rates.get(label), found.failed
    missed = [] if failed.empty else failed.loc[failed["service"] == label, "target"].tolist()
    tags = {
        "evalkit.fingerprint": service.fingerprint,
        "origin": found[label].origin,
        "evalkit.first_to_break": capacity.broke if capacity is not None else "",
        "evalkit.missed": ", ".join(missed),
    }
    return {name: text for name, text in tags.items() if text}


def _fields(layer: Any) -> Mapping[str, Any]:
    return {item.name: plain(getattr(layer, item.name)) for item in fields(layer)} if is_dataclass(layer) else {}
