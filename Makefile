# Works on a fresh clone with Python 3.11 or newer, make, and a reachable package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# worksteal: each worker begins with a half of the tests as they stand, so that fixtures are made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

# The other side of `make parity` and `make bench`, in an environment of its own; name yours to use it instead.
TRL_PYTHON ?= .venv-trl/bin/python
SHAPE ?= body
PAIRS ?= 16
REPEATS ?= 5

CHAOS_SECONDS ?= 360

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contract unit slow chaos parity bench catalogue lab-table format clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed-demo  ## align a tiny model, compare it with the exact optimum, say where the report is
	rm -rf runs/demo
	$(BIN)/collimate demo --out runs/demo
	@echo "The report is at $(CURDIR)/runs/demo/report.html"

test: lint types contract unit  ## lint, types, import contract, tests and doctests

lint: $(VENV)/.installed-dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev  ## basedpyright: strict but for engine, jobs, cli
	$(BIN)/basedpyright

contract: $(VENV)/.installed-dev  ## import-linter: imports go down
	$(BIN)/lint-imports

unit: $(VENV)/.installed-dev  ## the quick tests and the doctests
	$(PYTEST) -m "not slow and not chaos and not parity"

slow: $(VENV)/.installed-dev  ## the slow tests
	$(PYTEST) -m "slow and not chaos and not parity"

chaos: $(VENV)/.installed-dev  ## kill -9, full disks, damaged files (bounded: CHAOS_SECONDS)
	timeout $(CHAOS_SECONDS) env $(PYTEST) -m chaos tests/chaos

parity: $(VENV)/.installed-dev $(TRL_PYTHON)  ## every loss that TRL has too: same inputs, same value (docs/trl.md)
	TRL_PYTHON=$(TRL_PYTHON) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m parity tests/parity

bench: $(VENV)/.installed-demo $(TRL_PYTHON)  ## DPO speed and memory against TRL (SHAPE, PAIRS, REPEATS)
	TRL_PYTHON=$(TRL_PYTHON) $(BIN)/python benchmarks/dpo_vs_trl.py \
		--shape $(SHAPE) --pairs $(PAIRS) --repeats $(REPEATS) --json

catalogue: $(VENV)/.installed-dev  ## list the presets of collimate.methods anew, after one was added
	$(BIN)/python -m collimate.jobs.methods
	$(BIN)/python -m collimate.logic.tables docs/logic.md

lab-table: $(VENV)/.installed-dev  ## compute docs/lab.md anew: exact optima, and what each preset reaches
	OMP_NUM_THREADS=1 $(BIN)/python docs/lab_table.py

format: $(VENV)/.installed-dev  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environments, caches and runs
	rm -rf $(VENV) .venv-trl runs build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Collimate needs Python 3.11 or newer, but '$(PYTHON)' is" \
		"$$($(PYTHON) --version 2>/dev/null || echo missing)." \
		"Name another one, for example: make PYTHON=python3.12 demo" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[train,report]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[dev]"
	@touch $(VENV)/.installed-demo $@

.venv-trl/bin/python: benchmarks/trl-requirements.txt
	$(PYTHON) -m venv .venv-trl
	$@ -m pip install --disable-pip-version-check --quiet -r benchmarks/trl-requirements.txt
	@touch $@
