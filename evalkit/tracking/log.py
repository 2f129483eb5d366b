"""Logging results to MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from evalkit.errors import InputError
from evalkit.evaluate.results import Results
from evalkit.paths import results_dir
from evalkit.progress import progress
from evalkit.spec import as_yaml
from evalkit.store.folders import MANIFEST
from evalkit.tracking import records
from evalkit.tracking.database import sqlite_file
from evalkit.tracking.place import VIEW, artifact_root, connected, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

_TABLES = ("per_query.parquet", "summary.csv", "manifest.json")
_PLOTS = ("*.png", "*.svg", "report.html")
_PAGE = 500


def track(results: Results, *, folder: Path | None = None) -> str:
    """Log results to MLflow: a parent run for the sweep, a child run for each variant.

    Results that are there already are not logged again; what an interrupted attempt left is removed first.

    Parameters
    ----------
    results : Results
    folder : path, optional
        Where these results are on disk, with their plots. Default: ``results/<name>``, where they are saved
        first unless they are there.

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
    place = _on_disk(results, folder)
    with connected() as client:
        experiment = experiment_of(client, results.name)
        if done := logged(client, experiment, results.digest, "sweep"):
            return done
        return _log(client, experiment, results, place)


def _on_disk(results: Results, folder: Path | None) -> Path:
    place = Path(folder) if folder is not None else results_dir() / results.name
    if _holds(place, results):
        return place
    if folder is None:
        return results.save()
    raise InputError(f"{place}: other results than those to be tracked; give the folder these were saved in")


def _holds(place: Path, results: Results) -> bool:
    try:
        return Results.load(place).digest == results.digest
    except InputError:
        return False


def experiment_of(client: MlflowClient, name: str) -> str:
    """Return the experiment's identity; one that was deleted in MLflow's pages comes back."""
    found = client.get_experiment_by_name(name)
    if found is None:
        artifacts = (artifact_root() / name).as_uri() if sqlite_file(tracking_uri()) else None
        return str(client.create_experiment(name, artifacts))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def runs_of(client: MlflowClient, experiment: str, digest: str, more: str = "") -> list[Run]:
    """Return the runs that log these results, whole or not."""
    runs: list[Run] = []
    query, token = f"tags.`evalkit.results` = '{digest}' {more}", None
    while True:
        page = client.search_runs([experiment], query, max_results=_PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def logged(client: MlflowClient, experiment: str, digest: str, role: str) -> str | None:
    """Return the parent run that logs these results, if one is whole; what an interrupted attempt left is removed."""
    done = runs_of(client, experiment, digest, f"and tags.`evalkit.role` = '{role}' and status = 'FINISHED'")
    if done:
        return str(done[0].info.run_id)
    for run in runs_of(client, experiment, digest):
        client.delete_run(run.info.run_id)
    return None


class Saved(Protocol):
    """Results that lie in a folder, whose manifest has their digest."""

    @property
    def digest(self) -> str:
        """Hash of all that is told."""

    def save(self) -> Path:
        """Write them to the folder of their name."""


S = TypeVar("S", bound=Saved)


def track_saved(
    found: S, name: str, role: str, folder: Path | None, log: Callable[[MlflowClient, str, S, Path], str]
) -> str:
    """Log results once; return the parent run.

    Parameters
    ----------
    found : Saved
    name : str
        Of the experiment.
    role : str
        Of the parent run.
    folder : path, optional
        Where they were saved, with their plots. Default: they are saved first.
    log : function
        Logs them, given a client, the experiment and the folder, and returns the parent run.

    Raises
    ------
    InputError
        If the folder holds other results.
    """
    place = found.save() if folder is None else Path(folder)
    try:
        held = json.loads((place / MANIFEST).read_bytes())
    except (OSError, ValueError):
        held = None
    if not isinstance(held, dict) or held.get("digest") != found.digest:
        raise InputError(f"{place}: other results than those to be tracked; give the folder these were saved in")
    with connected() as client:
        experiment = experiment_of(client, name)
        return logged(client, experiment, found.digest, role) or log(client, experiment, found, place)


@contextmanager
def parent_run(
    client: MlflowClient, experiment: str, span: tuple[int, int], tags: Mapping[str, str], name: str
) -> Iterator[str]:
    """Begin a parent run at the first of two times, in milliseconds; it is finished at the second, last of all.

    So a parent that is finished is whole. One whose logging failed is marked as that.
    """
    parent = str(client.create_run(experiment, span[0], tags, name).info.run_id)
    try:
        yield parent
        client.set_terminated(parent, "FINISHED", span[1])
    except BaseException:
        with suppress(Exception):
            client.set_terminated(parent, "FAILED")
        raise


def _log(client: MlflowClient, experiment: str, results: Results, place: Path) -> str:
    shared, data = records.shared_tags(results), dataset_input(records.dataset(results))
    tags, name = {**shared, **records.sweep_tags(results)}, records.run_name(results.name)
    with parent_run(client, experiment, records.span(results), tags, name) as parent:
        client.log_inputs(parent, [data])
        _log_artifacts(client, parent, results, place)
        _log_variants(client, experiment, results, {**shared, "mlflow.parentRunId": parent}, data)
        client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{VIEW}", records.view(results))
    return parent


def _log_variants(
    client: MlflowClient, experiment: str, results: Results, tags: dict[str, str], data: DatasetInput
) -> None:
    begun, ended = records.span(results)
    metrics, own = records.metrics(results), records.variant_tags(results)
    with progress("track", total=len(results.systems)) as bar:
        for i, label in enumerate(results.systems):
            # MLflow's pages list the latest run first: a millisecond apart, variants keep the sweep's order.
            start = begun + len(results.systems) - i
            created = client.create_run(experiment, start, {**tags, **own[label]}, records.run_name(label))
            run = created.info.run_id
            log_batch(client, run, records.parameters(results, label), metrics[label], ended)
            client.log_inputs(run, [data])
            client.set_terminated(run, "FINISHED", max(ended, start))
            bar.update()


def log_batch(
    client: MlflowClient, run: str, parameters: dict[str, str], metrics: dict[str, float], when: int
) -> None:
    """Write parameters and metrics of one run, in as many steps as the server takes."""
    from mlflow.entities import Metric, Param

    client.log_batch(
        run,
        metrics=[Metric(name, number, when, 0) for name, number in metrics.items()],
        params=[Param(path, value) for path, value in parameters.items()],
        synchronous=True,
    )


def _log_artifacts(client: MlflowClient, run: str, results: Results, place: Path) -> None:
    client.log_text(run, as_yaml(results.manifest["spec"]), "spec.yaml")
    plots = {path for pattern in _PLOTS for path in place.rglob(pattern)}
    for path in [*(place / name for name in _TABLES), *sorted(plots)]:
        below = path.parent.relative_to(place).as_posix()
        client.log_artifact(run, str(path), None if below == "." else below)


def dataset_input(described: Mapping[str, str]) -> DatasetInput:
    """Return a data set as MLflow takes it for a run's input."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**described), [InputTag("mlflow.data.context", "evaluation")])
