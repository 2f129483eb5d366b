"""Logging certifications to MLflow: a parent run for the verdict, a child run for each setting."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.forms import plain
from evalkit.progress import progress
from evalkit.serving.semantic.decisions import Verified
from evalkit.serving.thresholds.designs import Design
from evalkit.serving.thresholds.results import PLOTS, Certified
from evalkit.serving.thresholds.tables import ALL, SHARES
from evalkit.spec import as_yaml
from evalkit.tracking import records
from evalkit.tracking.log import dataset_input, log_batch, parent_run, track_saved
from evalkit.tracking.place import VIEW

if TYPE_CHECKING:
    from mlflow import MlflowClient

_COUNTS = ("requests", "unjudged", "hits", "wrong", "stale")
_SAVED = ("saved_usd_per_1000", "saved_ms", "saved_usd", "right_saved_usd_per_1000", "right_saved_ms")
_ON_DEV = ("hit_rate", "served_wrong", "wrong_share")
_PARAMETERS = ("threshold", "rule", "ttl", "guard")
_SHOWN = ("hit_rate", "served_wrong", "served_wrong.high", "wrong_share", "saved_usd_per_1000", "saved_ms")


def track_certificates(found: Certified, folder: Path | None = None) -> str:
    """Log a certification's results to MLflow.

    The parent run has the verdict as a tag, and what the certificate says of its setting as metrics. A child run has
    a setting's rule, TTL, guard and embedder as parameters; as metrics what it did on test, with the ends of the
    intervals, and its shares on dev (``dev_`` before their names); and a tag whether it is certified: ``yes``,
    ``no``, or ``not looked at``, where dev chose another threshold with the same guard and TTL, or none.
    Results that are there already are not logged again; what an interrupted attempt left is removed first.

    Parameters
    ----------
    found : Certified
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
    return track_saved(found, found.name, "certification", folder, _log)


def _log(client: MlflowClient, experiment: str, found: Certified, place: Path) -> str:
    begun = round(datetime.fromisoformat(found.manifest["started"]).timestamp() * 1000)
    ended = begun + round(1000 * found.manifest["seconds"])
    shared = records.machine_tags(found.digest, found.manifest)
    data = dataset_input(records.dataset_of(found.manifest))
    name = records.run_name(found.name)
    with parent_run(client, experiment, (begun, ended), {**shared, **parent_tags(found)}, name) as parent:
        client.log_inputs(parent, [data])
        client.log_text(parent, as_yaml(found.manifest["spec"]), "spec.yaml")
        for path in [*sorted(place.glob("*.csv")), place / "manifest.json"]:
            client.log_artifact(parent, str(path))
        for path in sorted((place / PLOTS).glob("*")):
            client.log_artifact(parent, str(path), PLOTS)
        log_batch(client, parent, records.as_parameters(found.manifest["asked"]), parent_metrics(found), ended)
        children = [(label, i) for label, sweep in found.sweeps.items() for i in range(len(sweep.settings))]
        numbers = setting_metrics(found)
        shared = {**shared, "mlflow.parentRunId": parent, "mlflow.runType": "evaluation"}
        with progress("track", total=len(children)) as bar:
            for i, (label, setting) in enumerate(children):
                start = begun + len(children) - i  # MLflow's pages list the latest run first
                own = {**shared, **setting_tags(found, label, setting)}
                run = client.create_run(experiment, start, own, own["evalkit.variant"]).info.run_id
                log_batch(client, run, setting_parameters(found, label, setting), numbers[label, setting], ended)
                client.log_inputs(run, [data])
                client.set_terminated(run, "FINISHED", max(ended, start))
                bar.update()
        client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{VIEW}", _view(found))
    return parent


def _view(found: Certified) -> str:
    """Return the shared view: what is swept, whether it is certified, and what it did."""
    swept = (["embedder"] if len(found.sweeps) > 1 else []) + list(_PARAMETERS)
    return records.view_of(_SHOWN, [*(f"params.`{name}`" for name in swept), "tags.`evalkit.certified`"])


def parent_tags(found: Certified) -> dict[str, str]:
    """Return what the parent run is, and the verdict."""
    made, spec = found.certificate, found.manifest["spec"]
    tags = {
        "evalkit.role": "certification",
        "evalkit.certified": "yes" if made.certified else "no",
        "evalkit.verdict": str(made),
        "evalkit.design": made.design.label,
        "origin": ", ".join(sorted({sweep.origin for sweep in found.sweeps.values()})),
        "mlflow.note.content": spec.get("description", ""),
    }
    return {name: text for name, text in tags.items() if text}


def parent_metrics(found: Certified) -> dict[str, float]:
    """Return what the certificate says of its setting, on dev and, if it was looked at, on test."""
    made = found.certificate
    numbers: dict[str, float] = {"certified": float(made.certified), "budget": made.budget, "level": made.level}
    for prefix, seen in (("", made.design.test), ("dev_", made.design.dev)):
        if seen is not None:
            told = {"hit_rate": seen.hit_rate, "wrong": seen.wrong, "unjudged": seen.unjudged, "hits": seen.hits}
            bounds = {"share": seen.value, "share.low": seen.low, "share.high": seen.high}
            numbers |= {f"{prefix}{name}": float(number) for name, number in {**told, **bounds}.items()}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def setting_metrics(found: Certified) -> dict[tuple[str, int], dict[str, float]]:
    """Return ``{(embedder, setting): {name: number}}``: counts, shares and savings on test, and shares on dev."""
    rows = found.settings[found.settings["kind"] == ALL].to_dict("records")
    metrics: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        prefix, names = ("", (*SHARES, *_SAVED)) if row["part"] == "test" else ("dev_", _ON_DEV)
        numbers = {f"{n}{end}": row[n + end.replace(".", "_")] for n in names for end in ("", ".low", ".high")}
        numbers |= {name: row[name] for name in _COUNTS} if row["part"] == "test" else {}
        finite = {f"{prefix}{name}": float(number) for name, number in numbers.items() if math.isfinite(number)}
        metrics.setdefault((row["embedder"], row["setting"]), {}).update(finite)
    return metrics


def setting_parameters(found: Certified, label: str, setting: int) -> dict[str, str]:
    """Return what tells a setting from others: a threshold as its cosine, or the fields of a rule that learns."""
    one = found.sweeps[label].settings[setting]
    named: dict[str, Any] = {
        "rule": one.rule_label,
        "ttl": "none" if one.ttl is None else one.ttl,
        "guard": one.guard,
    }
    if label:
        named["embedder"] = label
    if isinstance(one.rule, Verified):
        named |= {"error": one.rule.error, "verified": plain(one.rule)}
    else:
        named["threshold"] = one.rule.least_cosine
    return records.as_parameters(named)


def setting_tags(found: Certified, label: str, setting: int) -> dict[str, str]:
    """Return who a setting is, and whether it is certified."""
    sweep = found.sweeps[label]
    name = f"{label}, {sweep.label(setting)}" if label else sweep.label(setting)
    held = {(one.sweep, one.position): _held(one) for one in found.certificate.designs}
    return {
        "evalkit.role": "setting",
        "evalkit.variant": records.run_name(name),
        "evalkit.certified": held.get((label, setting), "not looked at"),
        "origin": sweep.origin,
    }


def _held(design: Design) -> str:
    return "yes" if design.certified else "not looked at" if design.test is None else "no"
