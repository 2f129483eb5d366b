"""Where MLflow keeps its runs, how to reach it, and how to see it."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import EvalkitError
from evalkit.paths import tracking_dir
from evalkit.tracking.database import alone, sqlite_file
from evalkit.tracking.quiet import environment, quiet

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEW = "evalkit"
"""Key of the view of an experiment's runs that `track` stores beside them."""

_WHILE_LOGGING = {
    "MLFLOW_ACTIVE_MODEL_ID": None,  # would attach the metrics to some other model
    "_MLFLOW_ACTIVE_MODEL_ID": None,
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_ONE_AT_A_TIME = threading.Lock()
"""Environment, warnings and log levels belong to the whole process."""

_FIRST_CALL = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow would knock at a server that is not there for minutes."""


def tracking_uri() -> str:
    """Return where runs are logged.

    ``MLFLOW_TRACKING_URI`` when it is set, else the SQLite database ``mlflow.db`` in
    `evalkit.paths.tracking_dir`.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{tracking_dir() / 'mlflow.db'}"


def ui_url(port: int = 5000, experiment: str | None = None) -> str:
    """Return the address of MLflow's pages: the tracking server's, or that of `ui_command` on `port`.

    Parameters
    ----------
    port : int
    experiment : str, optional
        Name of an experiment that was tracked: the page of its runs, with the metrics and swept parameters.

    Raises
    ------
    EvalkitError
        If an experiment is asked for and the tracking store cannot be read.
    """
    uri = tracking_uri()
    pages = f"{uri.rstrip('/') if is_server(uri) else f'http://127.0.0.1:{port}'}/#/experiments"
    # Without it, MLflow opens pages about traces, of which there are none.
    flow = "workflowType=machine_learning"
    found = None
    if experiment is not None:
        with connected() as client:
            found = client.get_experiment_by_name(experiment)
    if found is None:
        return f"{pages}?{flow}"
    return f"{pages}/{found.experiment_id}/runs?{flow}&viewStateShareKey={VIEW}"


def ui_command(port: int = 5000) -> list[str]:
    """Return the command that serves MLflow's pages on this machine's loopback, at `ui_url`.

    Empty where ``MLFLOW_TRACKING_URI`` names a server, which has pages of its own.

    Raises
    ------
    EvalkitError
        If there is no database yet and none can be made.
    """
    uri = tracking_uri()
    if is_server(uri):
        return []
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        with connected():
            pass
    return [
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri,
        "--default-artifact-root", artifact_root().as_uri(), "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip


def artifact_root() -> Path:
    """Folder of the artifacts of experiments in a SQLite database; a server knows its own place."""
    return tracking_dir() / "artifacts"


def is_server(uri: str) -> bool:
    """Whether runs go to a tracking server, which has pages of its own."""
    return uri.startswith(("http://", "https://"))


@contextmanager
def connected() -> Iterator[MlflowClient]:
    """Yield a client of a tracking store that answers; with SQLite, one process at a time.

    Raises
    ------
    EvalkitError
        If the store cannot be reached, read or written, now or in the body.
    """
    uri = tracking_uri()
    database = sqlite_file(uri)
    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        stack.enter_context(environment(_WHILE_LOGGING))
        stack.enter_context(_failing_in_one_line(uri))
        stack.enter_context(quiet())
        if database is not None:
            stack.enter_context(alone(database, _reached))
        with environment({name: os.environ.get(name, value) for name, value in _FIRST_CALL.items()}):
            client = _reached(uri)
        yield client


def _reached(uri: str) -> MlflowClient:
    from mlflow.tracking.client import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


@contextmanager
def _failing_in_one_line(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not _is_of_mlflow(error):
            raise
        database = sqlite_file(uri)
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            todo = "free the place, or set EVALKIT_MLFLOW to another folder"
        elif is_server(uri):
            todo = "start that server or unset MLFLOW_TRACKING_URI"
        else:
            todo = "set MLFLOW_TRACKING_URI right or unset it"
        raise EvalkitError(
            f"{database or _masked(uri)}: MLflow cannot be reached or written ({_reason(error)}); {todo}; "
            "results on disk are untouched, track them again then"
        ) from None


def _is_of_mlflow(error: Exception) -> bool:
    """Whether an error came from MLflow or from what it is built on, and not from a fault of evalkit's."""
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError | sqlite3.Error) or bool(packages & {"mlflow", "sqlalchemy", "alembic"})


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = _masked(text.splitlines()[0])
    return line if len(line) <= 200 else f"{line[:199]}…"


def _masked(text: str) -> str:
    """Leave out what stands before the ``@`` of an address: it may be a password."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
