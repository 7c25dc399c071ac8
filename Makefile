# What people and CI run. Everything is installed into .venv from locked versions; see `make help`.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
CODE := $(wildcard src tests bench)
# Arguments for the command behind a target: make test ARGS="tests/unit -k lsn"
ARGS ?=
# How many tests run at once; each of these processes has servers of its own.
JOBS ?= 2

# One stamp per set of packages, younger than the lock it was installed from.
DEMO_READY := $(VENV)/.ready-demo
TEST_READY := $(VENV)/.ready-test

INSTALL = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input install
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --build-deps-for editable

.PHONY: help demo test test-mariadb11 unit lint fmt bench-pg bench-mysql bench-mysql-decode bench-memory bench-api referee
.PHONY: progress-situations fuzz-api reference lock clean system-packages

help: ## Say what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: $(DEMO_READY) ## Watch a live database move to another server
	@$(BIN)/towline demo $(ARGS)

test: system-packages lint ## Install what the tests need, check the code and run all tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-mariadb11: $(TEST_READY) ## Run the tests of MariaDB once more with the one of Debian unstable
	@scripts/system-packages test
	@scripts/system-packages mariadb
	@CI=true TOWLINE_MARIADB_ROOT=/var/cache/towline/mariadb-sid $(BIN)/python -m pytest -n $(JOBS) --dist worksteal \
		tests/servers/test_mysql_servers.py tests/integration/mysql tests/fault/test_kill_mysql.py -k mariadb10 $(ARGS)

unit: $(TEST_READY) ## Run the tests that need no server
	@$(BIN)/python -m pytest tests/unit tests/property $(ARGS)

lint: $(TEST_READY) ## Check style, types and layers
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || echo "Some files are not formatted: make fmt"
	@$(BIN)/mypy src/towline tests
	@$(BIN)/lint-imports --no-cache

fmt: $(TEST_READY) ## Bring the code into the common format
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

bench-pg: $(TEST_READY) ## Measure PostgreSQL jobs against other tools, one JSON line per case
	@scripts/system-packages bench
	@$(BIN)/python bench/pg.py $(ARGS)

bench-mysql: $(TEST_READY) ## Measure MariaDB jobs against other tools, one JSON line per case
	@scripts/system-packages test
	@scripts/system-packages bench
	@$(BIN)/python bench/mysql.py $(ARGS)

bench-mysql-decode: $(TEST_READY) ## Measure the binlog decoder alone, one JSON line per case and product
	@scripts/system-packages test
	@$(BIN)/python bench/mysql_decode.py $(ARGS)

bench-api: $(TEST_READY) ## Measure batch-progress with many jobs, beside a bare SELECT
	@scripts/system-packages bench
	@$(BIN)/python bench/api.py $(ARGS)

referee: $(TEST_READY) ## Hold the claimed delay against the true one while things go wrong, one JSON line each
	@scripts/system-packages referee
	@$(BIN)/python bench/referee.py $(ARGS)

progress-situations: $(TEST_READY) ## Hold percent and remaining time against what happens to deceiving tables
	@$(BIN)/python bench/progress.py $(ARGS)

bench-memory: $(TEST_READY) ## Measure a worker's peak memory with large tables, rows and transactions
	@scripts/system-packages bench
	@$(BIN)/python bench/memory.py $(ARGS)

system-packages:
	@scripts/system-packages test

fuzz-api: $(TEST_READY) ## Send 20,000 generated requests to a server, from /openapi.json
	@$(BIN)/python -m tests.api.generated

reference: $(TEST_READY) ## Make the reference page of the HTTP API from the code
	@$(BIN)/python -m towline.api.reference > docs/reference.md

lock: $(TEST_READY) ## Choose new versions of all packages; ARGS="--upgrade" for the newest
	@$(INSTALL) pip-tools
	@$(COMPILE) $(ARGS) --extra demo --extra test --output-file requirements/test.lock pyproject.toml
	@$(COMPILE) --constraint requirements/test.lock --extra demo --output-file requirements/demo.lock pyproject.toml
	@$(COMPILE) --constraint requirements/test.lock --output-file requirements/runtime.lock pyproject.toml

clean: ## Remove the virtual environment and everything that was made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@scripts/system-packages venv
	@scripts/make-venv $(VENV)

# The package itself is installed as a link to src/, so an edit needs no new installation.
$(VENV)/.ready-%: requirements/%.lock pyproject.toml | $(BIN)/python
	@echo "Installing the packages of requirements/$*.lock into $(VENV) ..."
	@$(INSTALL) --require-hashes --requirement requirements/$*.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
