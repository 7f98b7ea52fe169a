# All goals make .venv on first use and reuse it afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUTPUT := output/demo

.PHONY: help demo test test-long check docs bench clean

help:
	@echo "make demo    set up, run manifests/demo.csv, print where the gallery is"
	@echo "make test    set up, run linters, types and all tests"
	@echo "make test-long  set up, run the tests that take minutes, on an S3 server of their own"
	@echo "make bench   compare with neural-style-pt, print the table and write bench/RESULTS.md"
	@echo "make docs    rewrite the tables in the documentation from the code"
	@echo "make clean   remove the virtual environment and the demo's output"

# A Prefect home inside the checkout keeps the demo clear of a server or database of the user's own.
demo: $(VENV)/.run
	PREFECT_HOME="$(CURDIR)/.prefect" DO_NOT_TRACK=1 $(BIN)/nst run manifests/demo.csv --output $(DEMO_OUTPUT) --prefect

# More processes than four would want more memory than most machines have: each loads the weights.
test: check
	$(BIN)/pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

test-long: $(VENV)/.test
	$(BIN)/pytest -m long

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.run
	@mkdir -p output
	$(BIN)/python -m bench --json output/bench.json --markdown bench/RESULTS.md

docs: $(VENV)/.run
	$(BIN)/python -m nst.reference manifests/README.md README.md

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT) .prefect

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "expected Python 3.11 to 3.13 as $(PYTHON), found $$($(PYTHON) --version 2>&1); set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.run
