"""The project root, and one place each for the store, results and tracking."""

from __future__ import annotations

import pytest

from evalkit import paths


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("ROOT", "STORE", "RESULTS", "MLFLOW"):
        monkeypatch.delenv(f"EVALKIT_{name}", raising=False)
    inner = tmp_path / "project" / "notebooks" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return tmp_path / "project"


@pytest.mark.parametrize("marker", ["pyproject.toml", "evalkit.toml"])
def test_the_root_is_the_nearest_folder_up_with_a_marker(project, marker):
    (project / marker).touch()
    assert paths.project_root() == project
    (project / "notebooks" / marker).touch()
    assert paths.project_root() == project / "notebooks"


def test_a_folder_named_like_a_marker_is_none(project):
    (project / "evalkit.toml").touch()
    (project / "notebooks" / "evalkit.toml").mkdir()
    assert paths.project_root() == project


def test_relative_paths_start_at_the_root_and_absolute_ones_stay(project, tmp_path):
    (project / "evalkit.toml").touch()
    assert paths.resolve("datasets/x") == project / "datasets" / "x"
    assert paths.resolve("../data") == tmp_path / "data"
    assert paths.resolve(tmp_path / "y") == tmp_path / "y"


def test_a_path_in_the_home_folder_is_found(project, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.resolve("~/models") == tmp_path / "models"


def test_a_variable_moves_the_root(project, monkeypatch, tmp_path):
    (project / "evalkit.toml").touch()
    monkeypatch.setenv("EVALKIT_ROOT", str(tmp_path / "elsewhere"))
    assert paths.project_root() == tmp_path / "elsewhere"
    assert paths.store_dir() == tmp_path / "elsewhere" / ".evalkit" / "store"


@pytest.mark.parametrize(
    ("place", "variable", "default"),
    [
        (paths.store_dir, "EVALKIT_STORE", ".evalkit/store"),
        (paths.results_dir, "EVALKIT_RESULTS", "results"),
        (paths.tracking_dir, "EVALKIT_MLFLOW", ".evalkit/mlflow"),
    ],
)
def test_each_place_has_a_default_under_the_root_and_a_variable(
    project, monkeypatch, tmp_path, place, variable, default
):
    (project / "evalkit.toml").touch()
    assert place() == project / default
    monkeypatch.setenv(variable, str(tmp_path / "moved"))
    assert place() == tmp_path / "moved"
