from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from evalkit.spec import load_certification, load_experiment, load_replay

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SPECS = sorted((ROOT / "experiments").glob("*.yaml"))
LOADS = [path for path in SPECS if "services" in yaml.safe_load(path.read_text(encoding="utf-8"))]
CERTIFICATIONS = [path for path in SPECS if "thresholds" in yaml.safe_load(path.read_text(encoding="utf-8"))]
EXPERIMENTS = [path for path in SPECS if path not in (*LOADS, *CERTIFICATIONS)]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEAVY = (
    "torch", "transformers", "sentence_transformers", "pandas", "scipy", "matplotlib", "dask", "faiss", "bm25s",
    "mlflow", "ragas", "chromadb", "anthropic", "openai", "jupyterlab", "datasets", "ir_datasets",
    "distributed",
)  # fmt: skip
CONDA_NAMES = {
    "pytorch": "torch", "dask-core": "dask", "matplotlib-base": "matplotlib", "python-build": "build",
    "redis-py": "redis",
}  # fmt: skip
"""What conda-forge calls by another name than the package index."""


def test_importing_evalkit_loads_no_heavy_package():
    code = "import sys, evalkit; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "evalkit" in loaded.stdout.split()
    assert set(loaded.stdout.split()) & set(HEAVY) == set()
    assert loaded.stderr == ""


def requirement(text: str) -> tuple[str, str]:
    """A requirement as (name, bounds), the way indexes fold names."""
    name, bounds = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(.*)", text.strip()).groups()
    return re.sub(r"[-_.]+", "-", name).lower(), bounds.replace(" ", "")


def test_the_conda_environment_is_the_same_environment():
    declared = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [item for item in declared["dependencies"] if isinstance(item, str)]
    (pip,) = (item["pip"] for item in declared["dependencies"] if isinstance(item, dict))
    wanted = dict(map(requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]))
    pip.remove("-e .")
    found = [requirement(text) for text in (*conda, *pip)]
    by_index_name = {CONDA_NAMES.get(name, name): bounds for name, bounds in found if name not in ("python", "pip")}
    assert len(by_index_name) == len(found) - 2
    assert by_index_name == wanted
    assert dict(found)["python"] == PROJECT["requires-python"]
    assert declared["channels"][0] == "conda-forge"


def test_constraints_pin_one_version_of_all_that_is_declared():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(requirement(line) for line in lines if line.strip() and not line.startswith("#"))
    assert all(at.startswith("==") for at in pinned.values())
    everything = [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]
    assert {requirement(text)[0] for text in everything} - pinned.keys() == set()


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_experiment_loads_and_is_named_like_its_file(path):
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    assert experiment.description
    assert len(experiment.sweep.variants()) > 1


@pytest.mark.parametrize("path", LOADS, ids=lambda p: p.stem)
def test_every_load_loads_and_is_named_like_its_file(path):
    load = load_replay(path)
    assert load.name == path.stem
    assert load.description
    assert len(load.services) > 1


@pytest.mark.parametrize("path", CERTIFICATIONS, ids=lambda p: p.stem)
def test_every_certification_loads_and_is_named_like_its_file(path):
    certification = load_certification(path)
    assert certification.name == path.stem
    assert certification.description


def test_there_are_experiments():
    assert {"quickstart", "scifact"} <= {path.stem for path in EXPERIMENTS}


def test_there_are_notebooks_where_there_is_a_folder_of_them():
    assert not (ROOT / "notebooks").is_dir() or len(NOTEBOOKS) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_calls_and_defines_nothing(path):
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert len(cells) <= 12
    for cell in cells:
        source = "".join(line for line in cell["source"] if not line.lstrip().startswith(("%", "!")))
        kinds = {type(node) for node in ast.walk(ast.parse(source))}
        assert kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef} == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_saved_with_outputs_that_name_no_machine(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert all(cell["execution_count"] for cell in cells)
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    texts = [json.dumps({k: v for k, v in o.get("data", {}).items() if not k.startswith("image/")}) for o in outputs]
    texts += ["".join(output.get("text", "")) for output in outputs]
    texts += ["".join(cell["source"]) for cell in book["cells"]]
    assert not [t for t in texts if re.search(r"(?<![\w./])/(home|root|Users|tmp|work|opt|mnt)/|[A-Z]:\\\\", t)]


def test_the_data_sets_folder_is_no_package():
    assert not list((ROOT / "datasets").rglob("__init__.py"))


def test_ragas_imports_with_the_pinned_langchain():
    code = "import ragas; print(ragas.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "langchain-community<0.4" in PROJECT["dependencies"]


def modules() -> list[str]:
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / "evalkit").rglob("*.py"))]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]


@pytest.mark.parametrize("name", modules())
def test_what_a_module_says_it_exports_it_has(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert all(hasattr(module, exported) for exported in getattr(module, "__all__", ()))
