# `make` alone lists what can be done. Everything runs in .venv, built from requirements.txt: locked, with hashes.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help .venv nightly up down status test lint types bench lock clean

PYTHON ?= python3.11
VIGIL := .venv/bin/python -m pipelines

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z.]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

.venv: .venv/installed ## Build the environment, or bring it up to date

.venv/installed: requirements.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "Python 3.11 is needed: no $(PYTHON) on the PATH. Set PYTHON=/path/to/python3.11"; exit 2; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	test -x .venv/bin/uv || .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--requirement <(sed -n '/^uv==/,/[^\\]$$/p' requirements.txt)
	.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	touch .venv/installed

nightly: .venv ## Build all, make a sample bank, train, run its last three nights on Airflow, stop again
	$(VIGIL) nightly

up: .venv ## Start Airflow, MLflow, Feast, the data quality pages and PostgreSQL, and leave them running
	$(VIGIL) up

down: .venv ## Stop all of it, also after a crash
	$(VIGIL) down

status: .venv ## Say what runs, what was published and which business dates are missing
	$(VIGIL) status

test: .venv ## Run every test
	.venv/bin/python -m pytest

lint: .venv ## Check style and structure with ruff
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv ## Check types with mypy
	.venv/bin/mypy

bench: .venv ## Measure every row of the speed table; writes benchmarks/results.json
	.venv/bin/python -m benchmarks

lock: .venv ## Resolve requirements.in again into requirements.txt
	.venv/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" --output-file requirements.txt requirements.in

clean: ## Stop the stack and delete var/ (all data of the demo), .venv and caches
	test ! -x .venv/bin/python || $(VIGIL) down
	rm -rf var .venv .mypy_cache .pytest_cache .ruff_cache
