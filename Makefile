# Needs Python ≥ 3.11, make and a package registry; everything else is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 3
STAMP := $(VENV)/.set-up
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint format types contracts unit ui bench acceptance clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Holdfast needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/constraints.txt --group dev --editable '.[openai,anthropic,mcp]'
	@touch $@

setup: $(STAMP) ## Create .venv with everything (run by every other target)

demo: setup ## Serve the support desk demo and print what to try (Ctrl-C stops it)
	@$(BIN)/holdfast demo

test: check ## Set up and run every check: format, lint, types, contracts, tests

check: setup lint types contracts unit ## The same, step by step

lint:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

format: setup ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types:
	@$(BIN)/basedpyright --level error

contracts:
	@$(BIN)/lint-imports --no-cache

unit: setup ## The tests alone
	@$(PYTEST)

ui: setup ## Build the control plane into the package (Node comes with the environment)
	@$(BIN)/python docs/generate.py >/dev/null
	@$(BIN)/python ui/build.py types >/dev/null
	@$(BIN)/python ui/build.py format
	@$(BIN)/python ui/build.py build

bench: setup ## Measure speed: ratios inside one run (several minutes)
	@$(BIN)/python -m bench

acceptance: setup ## The long proofs: all 800 BFCL cases over HTTP, 200 under crashes, 100 forked, every point of the crash matrix
	@$(BIN)/python -m tests.acceptance.bfcl.run --cases all
	@$(BIN)/python -m tests.acceptance.bfcl.run --cases all --silent-agent
	@$(BIN)/python -m tests.acceptance.bfcl.forks --cases 100
	@HOLDFAST_FULL=1 $(PYTEST) tests/acceptance/test_bfcl_crashes.py tests/acceptance/crash

clean: ## Remove what was set up and made
	rm -rf $(VENV) .acceptance .pytest_cache .ruff_cache .hypothesis
