"""Fixtures for every test: a tiny data set, stores, and places that are not the checkout's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from evalkit.datasets import Dataset
from evalkit.store import DiskStore
from evalkit.testing import tiny_dataset

settings.register_profile("evalkit", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("evalkit")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory) -> Path:
    """One folder of derived models for the whole session: an export takes seconds."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(autouse=True)
def _places(tmp_path_factory, models_folder, monkeypatch):
    """No test writes into the checkout: the store, results and tracking lie in a temporary folder of each test."""
    folder = tmp_path_factory.mktemp("places")
    monkeypatch.delenv("EVALKIT_ROOT", raising=False)  # the Makefile sets it; a test stands in a project of its own
    for variable in ("EVALKIT_STORE", "EVALKIT_RESULTS", "EVALKIT_MLFLOW"):
        monkeypatch.setenv(variable, str(folder / variable.removeprefix("EVALKIT_").lower()))
    monkeypatch.setenv("EVALKIT_MODELS", str(models_folder))


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """12 short documents, 8 judged queries, reference answers."""
    return tiny_dataset()


@pytest.fixture
def store(tmp_path) -> DiskStore:
    """An empty store."""
    return DiskStore(tmp_path / "store")


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory) -> DiskStore:
    """One store for the whole session, so that the model's work on the tiny data set is done once."""
    return DiskStore(tmp_path_factory.mktemp("shared-store"))


@pytest.fixture
def needs_shared():
    """A function that returns a folder of shared public data, and skips the test, saying why, without it."""

    def folder(name: str) -> Path:
        found = SHARED / name
        if not found.is_dir():
            pytest.skip(f"the public data set '{name}' is not in {SHARED}")
        return found

    return folder
