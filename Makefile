# Busbar: everything from a fresh clone. `make help` lists what there is.
# Each step leaves a stamp in .cache/stamps and runs again only when what it depends on has changed.
# Works with GNU make 3.81 (macOS) and needs no root; paths are relative, so the folder may have spaces in its name.

SHELL := /bin/sh
MAKEFLAGS += -j2
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

STEPS ?= 60000

.PHONY: help run test check dapp dapp-build bench-gas bench-throughput bench-api notebook mutants machine chaos setup compile devnet lock clean

STAMPS := .cache/stamps
PY := .venv/bin/python
PIP := -m pip --disable-pip-version-check --no-input -q install --no-deps --no-compile --require-hashes
# Folders are listed too: their time changes when a file comes or goes.
DAPP := $(shell find dapp -path dapp/dist -prune -o -type f -print 2>/dev/null)
SOURCES := $(shell find contracts tests/solidity -name '.*' -prune -o \( -type d -o -name '*.sol' \) -print 2>/dev/null)

help: ## show this list
	@echo "Busbar, a peer-to-peer energy market. Commands:"
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done
	@echo 'Arguments go in ARGS:  make run ARGS="--days 2"   make test ARGS="-k clearing"   make devnet ARGS="--port 8546"'

run: $(STAMPS)/setup $(STAMPS)/compile $(STAMPS)/dapp ## set up what is missing, replay a community's days through the real market, then serve the dapp
	@.venv/bin/busbar replay $(ARGS)

dapp: $(STAMPS)/node ## the dapp with hot reload, over the market that `make run` serves in another terminal
	@cd dapp && exec ../node_modules/.bin/vite --config vite.config.mts $(ARGS)

dapp-build: $(STAMPS)/dapp ## build the dapp into dapp/dist

test: $(STAMPS)/setup $(STAMPS)/compile $(STAMPS)/dapp ## set up what is missing, then run the tests
	@.venv/bin/pytest -p no:ape_test $(ARGS)

check: $(STAMPS)/setup $(STAMPS)/compile $(STAMPS)/check ## format, lint, types, slither and proofs
	@sh scripts/check.sh $(ARGS)

bench-gas: $(STAMPS)/setup $(STAMPS)/compile ## measure what everything costs in gas, and write bench/results
	@$(PY) -m bench.gas $(ARGS)

bench-throughput: $(STAMPS)/setup $(STAMPS)/compile ## measure how many orders and readings a second enter, and write bench/results
	@$(PY) -m bench.throughput $(ARGS)
	@$(PY) -m bench.metering $(ARGS)

bench-api: $(STAMPS)/setup $(STAMPS)/compile ## measure how fast the API answers and takes orders (needs wrk), and write bench/results
	@$(PY) -m bench.api $(ARGS)

notebook: $(STAMPS)/setup $(STAMPS)/compile ## run docs/notebooks/market.ipynb over a replayed Saturday, and write what it printed
	@$(PY) -m tests.notebook

SEED ?= 1
chaos: $(STAMPS)/setup $(STAMPS)/compile ## disturb a running market 67 times in 200 epochs, and compare (SEED=2 for others)
	@$(PY) -m tests.chaos --seed $(SEED) $(ARGS)

mutants: $(STAMPS)/compile ## plant bugs in copies of the checkout and see that a test catches each
	@$(PY) scripts/mutants.py $(ARGS)

machine: $(STAMPS)/setup $(STAMPS)/compile ## run the state machine for STEPS steps (60,000): every verb in any order
	@BUSBAR_MACHINE_EXAMPLES=$$(( $(STEPS) / 60 )) .venv/bin/pytest -q -p no:ape_test $(ARGS) \
		tests/machines/test_market_revm.py -k any_sequence_of_verbs

setup: $(STAMPS)/setup ## install everything into this folder, nothing outside it

compile: $(STAMPS)/compile ## compile the contracts into busbar/abi

devnet: $(STAMPS)/setup ## start a chain at http://127.0.0.1:8545, stopped by Ctrl-C
	@exec $(PY) scripts/devnet.py $(ARGS)

clean: ## remove everything made here; `make setup` brings it back
	rm -rf .venv .venv-check node_modules .cache .build dapp/dist contracts/.cache busbar/abi/*.json *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis crytic-export

# ---- set-up -------------------------------------------------------------------------------------------------------

$(STAMPS)/preflight: scripts/preflight.sh
	@mkdir -p $(STAMPS)
	@sh scripts/preflight.sh > $@

$(STAMPS)/venv: requirements-build.txt $(STAMPS)/preflight
	@echo "[1/4] Python environment in .venv"
	@rm -rf .venv
	@"$$(cat $(STAMPS)/preflight)" -m venv .venv
	@$(PY) $(PIP) -r requirements-build.txt
	@touch $@

$(STAMPS)/node: package-lock.json package.json .npmrc $(STAMPS)/preflight
	@echo "[2/4] Node packages into node_modules: chain, compiler, OpenZeppelin, dapp"
	@npm ci --no-audit --no-fund --ignore-scripts --loglevel=error > /dev/null
	@touch $@

$(STAMPS)/python: requirements.txt $(STAMPS)/venv
	@echo "[3/4] Python packages into .venv (a minute or two the first time)"
	@$(PY) $(PIP) --no-build-isolation -r requirements.txt
	@touch $@

$(STAMPS)/setup: $(STAMPS)/python $(STAMPS)/node pyproject.toml scripts/setup_env.py scripts/environment.py busbar/tools.py
	@$(PY) -m pip --disable-pip-version-check -q install --no-deps --no-build-isolation --no-index -e .
	@$(PY) scripts/setup_env.py
	@touch $@

# Does not wait for the Python packages: the two longest steps of a first set-up run side by side.
$(STAMPS)/compile: $(STAMPS)/venv $(STAMPS)/node $(SOURCES) ape-config.yaml scripts/export_abi.py scripts/solc/solc.mjs
	@echo "[4/4] Contracts into busbar/abi"
	@PYTHONPATH=. $(PY) scripts/setup_env.py compiler
	@PYTHONPATH=. $(PY) scripts/export_abi.py
	@touch $@

$(STAMPS)/dapp: $(STAMPS)/node $(DAPP)
	@echo "[dapp] The dapp into dapp/dist"
	@cd dapp && ../node_modules/.bin/vite build --config vite.config.mts --logLevel warn
	@touch $@

$(STAMPS)/check: requirements-check.txt requirements-build.txt $(STAMPS)/preflight
	@echo "[check] Analysers into .venv-check"
	@rm -rf .venv-check
	@"$$(cat $(STAMPS)/preflight)" -m venv .venv-check
	@.venv-check/bin/python $(PIP) -r requirements-build.txt
	@.venv-check/bin/python $(PIP) --no-build-isolation -r requirements-check.txt
	@touch $@

# ---- for maintainers ----------------------------------------------------------------------------------------------

LOCK := uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11

lock: ## maintainers: write the lock files again (needs uv on PATH)
	$(LOCK) requirements-build.in -o requirements-build.txt
	$(LOCK) --override requirements-overrides.in requirements.in -o requirements.txt
	$(LOCK) requirements-check.in -o requirements-check.txt
	npm install --package-lock-only --no-audit --no-fund --loglevel=error
	node scripts/complete_lock.mjs
