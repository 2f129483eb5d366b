"""Where things lie: the project root, the store, the results and the tracking database, one place each."""

from __future__ import annotations

import os
from pathlib import Path

_MARKERS = ("pyproject.toml", "evalkit.toml")


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` that holds ``pyproject.toml`` or ``evalkit.toml``.

    ``EVALKIT_ROOT`` overrides the search; without a marker the root is `start` (the working folder).
    """
    if override := os.environ.get("EVALKIT_ROOT"):
        return Path(override).expanduser().resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if any((folder / marker).is_file() for marker in _MARKERS):
            return folder
    return here


def resolve(path: str | os.PathLike[str]) -> Path:
    """Return `path` as absolute: relative ones start at the project root, wherever the process runs."""
    given = Path(path).expanduser()
    return given if given.is_absolute() else Path(os.path.normpath(project_root() / given))


def find(path: str | os.PathLike[str]) -> Path:
    """Return where something that is to be read lies: from the working folder, else from the project root."""
    here = Path(path).expanduser()
    return here if here.exists() else resolve(path)


def _place(variable: str, default: str) -> Path:
    override = os.environ.get(variable)
    return Path(override).expanduser().resolve() if override else project_root() / default


def store_dir() -> Path:
    """Folder of the artefact store (``EVALKIT_STORE``, default ``.evalkit/store``)."""
    return _place("EVALKIT_STORE", ".evalkit/store")


def models_dir() -> Path:
    """Folder of models made from other models (``EVALKIT_MODELS``, default ``.evalkit/models``)."""
    return _place("EVALKIT_MODELS", ".evalkit/models")


def results_dir() -> Path:
    """Folder under which each experiment writes its results (``EVALKIT_RESULTS``, default ``results``)."""
    return _place("EVALKIT_RESULTS", "results")


def tracking_dir() -> Path:
    """Folder of the MLflow database and artifacts (``EVALKIT_MLFLOW``, default ``.evalkit/mlflow``)."""
    return _place("EVALKIT_MLFLOW", ".evalkit/mlflow")
