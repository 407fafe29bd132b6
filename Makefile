# `make demo` and `make test` are all that a newcomer needs; every other target says what it does in `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test lint types check crash simulate bench format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(VENV)/.user: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tidegate needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[demo,uvloop,zstd]'
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# Static tools read the three folders as the packages they are installed as.
.types/tidegate:
	@mkdir -p $@
	@for package in engine operators connectors; do ln -sfn ../../$$package $@/$$package; done

demo: $(VENV)/.user  ## 336,776 flights through the engine, killed once half way, compared with Polars
	$(BIN)/tidegate demo

# Built before the tests, whose time is limited: it takes minutes the first time.
.PHONY: object-store
object-store: $(VENV)/.dev
	-@$(BIN)/python -m tidegate.engine.testing.s3_server --build

test: $(VENV)/.dev object-store  ## every test but the long suites
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long"

lint: $(VENV)/.dev  ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev .types/tidegate  ## mypy --strict over the three packages
	$(BIN)/mypy -p tidegate.engine -p tidegate.operators -p tidegate.connectors

check: test lint types  ## what must pass before a change lands

crash: $(VENV)/.dev object-store  ## the long crash suites: kill -9 at random instants, a crash at every await and I/O call
	$(BIN)/python -m pytest -n 2 -m long tests/guarantees --ignore tests/guarantees/simulate

simulate: $(VENV)/.dev  ## 10,000 seeded histories of crashes, delays and failures in virtual time
	$(BIN)/python -m pytest -s -m long tests/guarantees/simulate

.PHONY: nexmark
nexmark: $(VENV)/.dev  ## every query over 100,000 and 1,000,000 events, run through and crashed, against DuckDB
	$(BIN)/python -m pytest -n 2 -m long tests/benchmarks/nexmark

MINUTES ?= 10
SEED ?=
.PHONY: chaos
chaos: $(VENV)/.dev object-store  ## jobs while processes, storage, broker, network, disk and clock fail; MINUTES=60 is the soak
	$(BIN)/python tests/chaos/both.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.dev  ## measure on this machine, against the hand-written loop in the same run
	$(BIN)/tidegate bench

format: $(VENV)/.dev  ## rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the targets made
	rm -rf $(VENV) .types build demo-out chaos-out bench-data *.egg-info .pytest_cache .mypy_cache .ruff_cache
