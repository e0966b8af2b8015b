# Everything a developer does, and CI too. Needs make, and python3 (3.11 or later) with venv; nothing else.

UV_VERSION := >=0.13,<0.14
PYTHON ?= python3
# Each worker has its own servers. Many tests wait (for leases, timers, processes that start), so that two cores have
# room for four; more cost more than they bring.
WORKERS ?= 4

BIN := .venv/bin
STAMP := .venv/.up-to-date
MEMBERS := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml cli/pyproject.toml bench/pyproject.toml examples/*/pyproject.toml)

# pyright comes with its program and with a Node from PyPI: it takes those, looks for no other and for no news.
export PYRIGHT_PYTHON_GLOBAL_NODE := off
export PYRIGHT_PYTHON_IGNORE_WARNINGS := on
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/.venv/cache
# Where the machine has certificates of its own they count: a company's proxy is known to them alone.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/*),true,false)
# Another environment that happens to be active is not ours.
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format docs bench clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## Install everything into .venv

demo: $(STAMP) ## Run the demo: a workflow, a pause, time travel, run-from-block (TRACE=1: with its traces)
	$(BIN)/playhead demo --yes $(if $(TRACE),--trace)

test: $(STAMP) ## Run all tests on real servers
	$(BIN)/pytest -n $(WORKERS)

check: $(STAMP) ## Lint, format, types, imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(STAMP) ## Renew the tables of docs/reference that follow from the code, and the golden schemas
	$(BIN)/playhead contracts check tests/golden/schemas --record
	$(BIN)/python -m playhead_cli.reference docs/reference/*.md

bench: $(STAMP) ## Run all benchmarks
	$(BIN)/playhead bench all

clean: ## Remove what setup made
	rm -rf .venv .boot

# The uv on PATH if it is of the right version, else one of our own: the workspace's build backend goes with it.
$(STAMP): uv.lock pyproject.toml $(MEMBERS)
	@echo 'setting up .venv'
	@uv=uv; case "$$(uv --version 2>/dev/null)" in \
		"uv 0.13."*) ;; \
		*) uv=.boot/bin/uv; test -x $$uv || { $(PYTHON) -m venv .boot && .boot/bin/pip install --quiet 'uv$(UV_VERSION)'; } ;; \
	esac && $$uv sync --locked --quiet
	@touch $@
