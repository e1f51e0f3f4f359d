# `make demo` runs the main job, `make test` the suite; both set up .venv first. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One thread a process and two test processes: faster than one process with two threads, and the same bits everywhere.
ONE_THREAD := NPROC=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup demo test parity lint resolve clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# A stamp a set of extras: a change of pyproject.toml installs anew.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.base: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[orbnet,ner,cluster,dev]'
	@touch $@ $(VENV)/.base

$(VENV)/.parity: pyproject.toml | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e '.[orbnet,ner,cluster,dev,parity]'
	@touch $@

setup: $(VENV)/.dev  ## make .venv with everything that the tests need

demo: $(VENV)/.base  ## train the digits neural ODE with and without regularisation, 3 seeds, and compare (demo.png)
	$(BIN)/zoo reproduce neural_de/digits_node --train --rows Vanilla,ERNODE --seeds 3 --runs runs/demo --out runs/demo/results --picture demo.png

test: setup  ## the whole suite, without torch
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal tests -m "not parity"

parity: $(VENV)/.parity  ## live comparisons with torch, transformers, peft, torchdiffeq
	$(ONE_THREAD) $(BIN)/python -m pytest tests/parity -m parity

lint: setup  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

resolve: $(VENV)/bin/python  ## does pip resolve all extras on each Python given: make resolve PYTHONS="python3.11 python3.12"
	@for p in $(or $(PYTHONS),$(PYTHON)); do $$p scripts/resolve.py || exit 1; done

clean:  ## remove what was built (runs stay)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
