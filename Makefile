# A fresh machine needs git, make and Python 3.11 or newer with venv; everything else is fetched here.
#
#   make setup      the environment in .venv        make test        every test but the slow ones
#   make demo       score real images, end to end   make test-slow   the slow ones
#   make check      format, lint, types, floors     make bench       the benchmarks
#   make format     put the format right            make docs        generate the reference, test the docs
#   make lock       lock the requirements again     make clean       remove what this file made

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Compiled once here, modules start twice as fast; a shell that forbids writing bytecode would undo that at every import.
unexport PYTHONDONTWRITEBYTECODE
# Another active environment or a foreign search path must not leak in.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES := $(shell nproc 2>/dev/null || echo 2)
WORKERS ?= $(CORES)
ARGS ?=

# uv from the machine where it works (a shim may stand there without one behind it), else one of our own in .uv
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
UV_READY := $(if $(filter uv,$(UV)),,.uv/bin/uv)
NPM := $(shell npm --version >/dev/null 2>&1 && echo npm)
AZURITE := .tools/azurite/node_modules/.bin/azurite-blob
# The last Azurite that runs on Node 20.
AZURITE_VERSION := 3.35.0

.PHONY: help setup tools demo test test-slow check format bench docs lock clean

help:
	@sed -n '/^#   make/s/^# *//p' Makefile

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv

$(BIN)/python: | $(UV_READY)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Batchmill needs Python 3.11 or newer; '$(PYTHON)' is `$(PYTHON) --version`. Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)

# The stamp is inside the environment, so that removing the environment removes the stamp with it.
$(VENV)/.installed: requirements/all.txt pyproject.toml azureml-compat/pyproject.toml | $(BIN)/python
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --requirements requirements/all.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . --editable ./azureml-compat
	@touch $@

setup: $(VENV)/.installed

# What the tests need beyond Python. Without npm the tests against Azurite are skipped, and say so.
$(AZURITE):
	mkdir -p .tools/azurite
	npm install --prefix .tools/azurite --no-audit --no-fund --loglevel=error azurite@$(AZURITE_VERSION)

tools: $(if $(NPM),$(AZURITE))

demo: setup
	$(BIN)/python examples/digits/demo.py $(ARGS)

test: setup tools
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-slow: setup tools
	$(BIN)/python -m pytest -n $(WORKERS) -m slow $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup tools
	$(BIN)/python -m benchmarks $(ARGS)

docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python -m pytest tests/docs $(ARGS)

lock: | $(UV_READY)
	UV=$(UV) requirements/lock.sh $(ARGS)

clean:
	rm -rf $(VENV) .uv .tools build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
