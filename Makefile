# Every target does its own set-up: a virtual environment in .venv, the four distributions (editable) with their
# pinned dependencies, and, when something of the system is missing, an error that names the command to run.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
PYTEST_ARGS ?=
DISTRIBUTIONS := -e '.[test]' -e plugins/qwen -e plugins/demo -e api
PROJECTS := pyproject.toml plugins/qwen/pyproject.toml plugins/demo/pyproject.toml api/pyproject.toml
# One stamp for each index, by its checksum: a URL holds what make would not take in a file's name.
STAMP := $(VENV)/.installed$(if $(TORCH_INDEX),-$(shell printf %s '$(TORCH_INDEX)' | cksum | cut -d ' ' -f 1))
TEST_TOOLS := git git-lfs openssl ssh:openssh-client sshd:openssh-server
GIFTLESS := .venv-giftless
GIFTLESS_STAMP := $(GIFTLESS)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: install demo test test-slow check format bench docs clean help

install: $(STAMP) ## Create .venv and install everything, editable. TORCH_INDEX=URL takes torch from another index.

demo: $(STAMP) ## Run the main job: clone the demo model, list it, ask it, serve it, ask through the API, stop.
	@$(BIN)/hyprstream demo

test: $(STAMP) $(GIFTLESS_STAMP) ## Run the tests, without the slow ones. PYTEST_ARGS='-k name' selects.
	@.ci/setup tools $(TEST_TOOLS)
	@$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(STAMP) $(GIFTLESS_STAMP) ## Run the tests marked slow: long, random and resource-hungry ones.
	@.ci/setup tools $(TEST_TOOLS)
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

check: $(STAMP) ## Check format, lint, types, import layers and generated documents.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy --python-version 3.13
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python docs/generate.py --check

format: $(STAMP) ## Format the code and apply the linter's safe fixes.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## Run the benchmarks; each prints a ratio to something measured in the same run.
	@for file in bench/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

docs: $(STAMP) ## Write the generated documents: hooks, configuration, command line, security coverage.
	@$(BIN)/python docs/generate.py

clean: ## Delete what builds and tests left behind, .venv included.
	rm -rf $(VENV) $(GIFTLESS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(STAMP): constraints.txt $(PROJECTS) .ci/setup
	@.ci/setup python "$(VENV)"
	@$(PIP) install --quiet --constraint constraints.txt hatchling editables
ifneq ($(TORCH_INDEX),)
	@$(PIP) install --force-reinstall --no-deps --index-url "$(TORCH_INDEX)" --constraint constraints.txt torch
endif
	@echo "installing hyprstream and its dependencies into $(VENV) (torch is large) …"
	@$(PIP) install --quiet --no-build-isolation --constraint constraints.txt \
	  $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") $(DISTRIBUTIONS)
	@touch $@

$(GIFTLESS_STAMP): tests/servers/giftless.txt .ci/setup
	@.ci/setup python "$(GIFTLESS)"
	@$(GIFTLESS)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps --requirement $<
	@touch $@
