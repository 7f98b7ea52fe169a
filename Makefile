# All goals make .venv on first use and reuse it afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GALLERY_TESTS := tests/gallery
DEMO_OUTPUT := output/demo
CONSTRAINTS := deploy/constraints.txt
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
# More processes than four would want more memory than most machines have: each loads the weights.
PYTEST = $(BIN)/pytest --numprocesses=logical --maxprocesses=4
SYSTEM_PROCESSES := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# On Linux PyTorch's wheels bring CUDA along; TORCH=cpu takes those that do not, from its own index.
TORCH ?= cuda
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
ifeq ($(filter cuda cpu,$(TORCH)),)
$(error TORCH: expected cpu or cuda, found $(TORCH))
endif

.PHONY: help demo test test-all test-long check check-gallery chromium docs constraints bench clean

help:
	@echo "make demo    set up, run manifests/demo.csv, print where the gallery is"
	@echo "             TORCH=cpu, here and below, sets up PyTorch without CUDA: 2 GB in place of 6"
	@echo "make test    set up, run linters, types and the tests of each module: minutes on two cores"
	@echo "make test-all   and the tests of whole systems: servers, clusters, browsers, kills, the benchmark"
	@echo "make test-long  set up, run the tests that take minutes each, on an S3 server of their own"
	@echo "make bench   compare with neural-style-pt, print the table and write bench/RESULTS.md"
	@echo "make docs    rewrite the tables in the documentation from the code"
	@echo "make constraints  write the versions of this environment into deploy/constraints.txt"
	@echo "make clean   remove the virtual environment and the demo's output"

# A Prefect home inside the checkout keeps the demo clear of a server or database of the user's own.
demo: $(VENV)/.run
	PREFECT_HOME="$(CURDIR)/.prefect" DO_NOT_TRACK=1 $(BIN)/nst run manifests/demo.csv --output $(DEMO_OUTPUT) --prefect

test: check chromium
	$(PYTEST) --dist=worksteal

# A file's tests share a server or a browser, so they stay in one process. They wait for processes and
# servers more than they compute, so there is one process more than cores; and they begin in the order
# of their names, since files of few tests, which xdist would put last, take longest.
test-all: test
	$(PYTEST) --numprocesses=$(SYSTEM_PROCESSES) --dist=loadfile --no-loadscope-reorder tests/system

test-long: $(VENV)/.test
	$(BIN)/pytest tests/long

check: $(VENV)/.test check-gallery
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The gallery's scripts need Node to be checked, not to be used: who has none can work on all else.
# In CI, where nobody reads what was skipped, it is an error.
check-gallery:
	@if node --version >/dev/null 2>&1 && npm --version >/dev/null 2>&1; then \
		$(MAKE) --silent $(GALLERY_TESTS)/node_modules/.installed && \
		npm --prefix $(GALLERY_TESTS) run --silent lint && \
		npm --prefix $(GALLERY_TESTS) run --silent types && \
		npm --prefix $(GALLERY_TESTS) run --silent test; \
	else \
		echo "found no Node with npm: install Node 20 or later; the checks of the gallery's scripts are skipped" >&2; \
		test -z "$$CI"; \
	fi

chromium: $(VENV)/.test
	@$(BIN)/python -m tests.browser.chromium

bench: $(VENV)/.run
	@mkdir -p output
	$(BIN)/python -m bench --json output/bench.json --markdown bench/RESULTS.md

docs: $(VENV)/.run
	$(BIN)/python -m docs.reference README.md manifests/README.md docs/OUTPUT.md docs/OPERATE.md docs/JSON.md docs/ARCHITECTURE.md

constraints: $(VENV)/.test
	$(BIN)/python deploy/constraints.py > $(CONSTRAINTS).new
	mv $(CONSTRAINTS).new $(CONSTRAINTS)

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT) .prefect $(GALLERY_TESTS)/node_modules

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "expected Python 3.11 to 3.13 as $(PYTHON), found $$($(PYTHON) --version 2>&1); set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(CONSTRAINTS) | $(VENV)/bin/python
ifeq ($(TORCH),cpu)
	@echo "installing: less than 1 GB to fetch, 2 GB on the disk; a minute or two at 100 Mbit/s" >&2
	$(INSTALL) --no-deps --index-url $(TORCH_CPU_INDEX) torch torchvision
else ifeq ($(shell uname -s),Linux)
	@echo "installing: 3.2 GB to fetch, 6 GB on the disk, two thirds of it CUDA; 5 minutes at 100 Mbit/s, and some to unpack. Without an NVIDIA GPU: make demo TORCH=cpu, a third of it" >&2
endif
	@touch $@

$(VENV)/.run: pyproject.toml $(CONSTRAINTS) | $(VENV)/.torch
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml $(CONSTRAINTS) | $(VENV)/.torch
	$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.run

$(GALLERY_TESTS)/node_modules/.installed: $(GALLERY_TESTS)/package.json
	npm --prefix $(GALLERY_TESTS) install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@
