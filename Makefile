# Two commands are all the set-up there is: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

export EVALKIT_ROOT := $(CURDIR)
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install run test test-slow lab ui check format bench notebooks clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY)  ## make .venv and install

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "evalkit needs Python 3.11 to 3.13; say which with: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

run: $(READY)  ## run experiments/quickstart.yaml
	$(BIN)/evalkit run experiments/quickstart.yaml

test: $(READY)  ## pytest, then the notebooks as regression tests
	$(BIN)/python -m pytest -n 2 --dist loadfile tests
	EVALKIT_PROGRESS=0 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg notebooks

test-slow: $(READY)  ## the proofs that take minutes
	$(BIN)/python -m pytest tests -m slow

lab: $(READY)  ## JupyterLab
	$(BIN)/jupyter lab --notebook-dir=.

ui: $(READY)  ## the MLflow page of all runs, on http://127.0.0.1:5000
	$(BIN)/evalkit ui

check: $(READY)  ## lint, format, types, imports, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check

format: $(READY)  ## format in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## measured ratios to peers
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,bench]"
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

notebooks: $(READY)  ## run the notebooks and save them with their outputs
	EVALKIT_PROGRESS=0 $(BIN)/jupyter nbconvert --to notebook --inplace --execute notebooks/*.ipynb

clean:  ## remove what was made: .venv, the store, results
	rm -rf $(VENV) .evalkit results build *.egg-info
