"""What of results goes to MLflow: tags, parameters and metrics as plain mappings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from evalkit.evaluate.results import Results
from evalkit.evaluate.show import shown_metrics
from evalkit.metrics import MetricError, parse

_LONGEST = {"key": 250, "parameter": 6000, "tag": 5000}
"""Characters that MLflow keeps; older servers cut tags at 5000."""

_COLUMNS = 15

_PLAIN_VIEW: Mapping[str, Any] = {
    "columnWidths": {}, "runsExpanded": {}, "runsPinned": [], "runsHidden": [],
    "runsVisibilityMap": {}, "runsHiddenMode": "SHOWALL", "viewMaximized": False, "runListHidden": False,
    "isAccordionReordered": False, "groupBy": None, "groupsExpanded": {}, "autoRefreshEnabled": False,
    "useGroupedValuesInCharts": True, "hideEmptyCharts": True, "searchFilter": "",
    "orderByKey": "attributes.start_time", "orderByAsc": False, "startTime": "ALL", "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs", "datasetsFilter": [],
}  # fmt: skip
"""What MLflow's pages start from; they expect every key."""

_PATH = re.compile(r"(?<![\w./:~-])(?:file://)?~?/(?:[^/\s,;)\]]+/)+([^/\s,;)\]]*)")


def metric_name(name: str) -> str:
    """Return a metric's name as MLflow takes it: ``ndcg_at_10``, ``prompt_tokens``."""
    try:
        return parse(name).slug
    except MetricError:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def metrics(results: Results) -> dict[str, dict[str, float]]:
    """Return ``{label: {name: number}}``: each mean with the ends of its interval, where they are finite."""
    found: dict[str, dict[str, float]] = {label: {} for label in results.systems}
    rows = results.summary[["variant", "metric", "value", "low", "high"]]
    for label, metric, *numbers in rows.itertuples(index=False, name=None):
        name = metric_name(metric)
        for suffix, number in zip(("", ".low", ".high"), numbers, strict=True):
            if math.isfinite(number):
                found[label][f"{name}{suffix}"] = float(number)
    return found


def parameters(results: Results, label: str) -> dict[str, str]:
    """Return a variant's fields by dotted path, as the manifest lists them."""
    return as_parameters(results.manifest.get("parameters", {}).get(label, {}))


def as_parameters(listed: Mapping[str, Any]) -> dict[str, str]:
    """Return values by dotted path as MLflow takes them."""
    return {_cut(path, "key"): _cut(_text(value), "parameter") for path, value in listed.items()}


def shared_tags(results: Results) -> dict[str, str]:
    """Return the tags that the sweep and its variants have in common."""
    return machine_tags(results.digest, results.manifest)


def machine_tags(digest: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return as tags what results are known by, and what they were made with."""
    machine, versions = manifest.get("machine") or {}, manifest.get("versions") or {}
    units = {"cores": "{} cores", "memory_gib": "{} GiB", "python": "Python {}"}
    tags = {
        "evalkit.results": digest,
        "commit": manifest.get("commit"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "machine": ", ".join(units.get(k, "{}").format(v) for k, v in machine.items() if v is not None),
        # These two are what MLflow's pages show as source and version.
        "mlflow.source.name": "evalkit",
        "mlflow.source.git.commit": manifest.get("commit"),
    }
    return _tags(tags)


def sweep_tags(results: Results) -> dict[str, str]:
    """Return the parent run's own tags."""
    spec = results.manifest["spec"]
    own = {
        "evalkit.role": "sweep",
        "evalkit.base": results.base,
        "origin": _origins(results.summary["origin"]),
        "control": _control(results.manifest.get("control")),
        "mlflow.note.content": spec.get("description"),
    }
    return _tags(own)


def variant_tags(results: Results) -> dict[str, dict[str, str]]:
    """Return ``{label: tags}``: who the variant is, whether it is the base, where its numbers come from."""
    by_variant = results.summary.groupby("variant", sort=False)["origin"]
    origins = {label: _origins(rows) for label, rows in by_variant}
    return {
        label: _tags(
            {
                "evalkit.role": "base" if label == results.base else "variant",
                "evalkit.variant": label,
                "evalkit.fingerprint": fingerprint,
                "origin": origins.get(label),
                "mlflow.runType": "evaluation",  # MLflow's pages unfold the sweeps of such runs
            }
        )
        for label, fingerprint in results.systems.items()
    }


def dataset(results: Results) -> dict[str, str]:
    """Return the data set's name, digest (at most 36 characters), source and counts."""
    return dataset_of(results.manifest)


def dataset_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the same of the data set that a manifest names."""
    data = manifest["data"]
    folder = _text(manifest["spec"].get("dataset") or data["name"])
    counts = {key: value for key, value in data.items() if isinstance(value, int)}
    counts["unjudged queries"] = len(data.get("unjudged queries", ()))
    return {
        "name": data["name"],
        "digest": data["digest"][:36],
        "source_type": "local",
        "source": json.dumps({"uri": folder}),
        "profile": json.dumps(counts),
    }


def span(results: Results) -> tuple[int, int]:
    """Return when the sweep began and ended, in milliseconds since 1970."""
    begun = round(datetime.fromisoformat(results.manifest["started"]).timestamp() * 1000)
    return begun, begun + round(1000 * results.manifest["seconds"])


def run_name(label: str) -> str:
    """Return a label as a run's name."""
    return _cut(_text(label), "key")


def view(results: Results) -> str:
    """Return, as MLflow's pages store a shared view, the columns worth seeing: swept parameters and means."""
    columns = [f"params.`{path}`" for path in _swept(results)[:_COLUMNS]]
    columns += [f"metrics.`{metric_name(name)}`" for name in shown_metrics(results)[:_COLUMNS]]
    return _view(columns)


def view_of(metrics: Sequence[str], before: Sequence[str] = ()) -> str:
    """Return the shared view that shows some metrics, by the names that MLflow has, behind other columns."""
    return _view([*before, *(f"metrics.`{name}`" for name in metrics)])


def _view(columns: Sequence[str]) -> str:
    return json.dumps({**_PLAIN_VIEW, "selectedColumns": list(columns), "columnOrder": list(columns)})


def _swept(results: Results) -> list[str]:
    """Paths of the fields that differ between the variants that have them."""
    values: dict[str, set[str]] = {}
    for listed in results.manifest.get("parameters", {}).values():
        for path, value in listed.items():
            values.setdefault(path, set()).add(_text(value))
    return [path for path, found in values.items() if len(found) > 1]


def _control(control: Mapping[str, float] | None) -> str | None:
    """Print what timing the base twice gave: no smaller difference of latency is to be believed."""
    if not control:
        return None
    return "{difference_ms:+.2f} ms [{low:+.2f}, {high:+.2f}], n = {n}".format_map(control)


def _origins(column: Any) -> str:
    return ", ".join(sorted(set(column)))


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: _cut(_text(value), "tag") for key, value in tags.items() if value not in (None, "")}


def _text(value: Any) -> str:
    """Print a value, folders of absolute paths left out: they name a machine and its user, not a system."""
    if not isinstance(value, str):
        return _text(json.dumps(value, ensure_ascii=False))
    if PurePath(value).is_absolute():
        return PurePath(value).name or "/"
    return _PATH.sub(lambda found: found[1], value)


def _cut(text: str, kind: str) -> str:
    longest = _LONGEST[kind]
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
