# One entry for newcomers, developers and CI. `make` prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
MANIFESTS := pyproject.toml kernels/pyproject.toml constraints.txt
NATIVE := $(shell find rust csrc -name target -prune -o -type f -print) Cargo.toml Cargo.lock CMakeLists.txt

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv with everything that development and the tests need

# Release build of both native modules, editable. uv links packages from its cache; pip copies them.
$(VENV)/.installed: $(MANIFESTS)
	@PYTHON=$(PYTHON) tools/check-toolchain
ifdef UV
	test -x $(BIN)/python || uv venv -q --python $(PYTHON) $(VENV)
	uv pip install -q -p $(BIN)/python -e ./kernels -e . --group dev -c constraints.txt
else
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q -e ./kernels -e . --group dev -c constraints.txt
endif
	@touch $@ $(VENV)/.built

# What an edited .rs or .cpp costs: the quick profile, incremental.
$(VENV)/.built: $(NATIVE) | $(VENV)/.installed
	$(BIN)/maturin develop -q --profile quick --skip-install
	@touch $@

build: setup $(VENV)/.built ## rebuild the native modules after an edit, quickly

.PHONY: help setup build
