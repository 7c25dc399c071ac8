# What people and CI run. Everything is installed into .venv from locked versions; see `make help`.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Where it is set, each of the many processes of tests and benchmarks would compile all modules for itself: 0.3 s.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
CODE := $(wildcard src tests bench)
# Arguments for the command behind a target: make test ARGS="tests/unit -k lsn"
ARGS ?=
# How many tests run at once, more than cores as they often wait; each of these processes has servers of its own.
JOBS ?= 4

# One stamp per set of packages, younger than the lock it was installed from.
DEMO_READY := $(VENV)/.ready-demo
TEST_READY := $(VENV)/.ready-test

# The vendor's client in its oldest version, above the packages of .venv.
SDK_OLDEST := $(VENV)-sdk-oldest
SDK_TESTS := tests/api/test_sdk_operations.py tests/api/test_sdk.py tests/api/test_sdk_carry.py tests/api/test_sdk_life.py

INSTALL = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input install
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --build-deps-for editable

.PHONY: help demo test test-crossing test-mysql-versions unit lint fmt bench-pg bench-mysql bench-mysql-decode bench-to-pg
.PHONY: bench-memory bench-api referee progress-situations fuzz-api sdk-oldest fault-join kill-ddl kill-renames
.PHONY: reference lock clean
.PHONY: system-packages

help: ## Say what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: $(DEMO_READY) ## Watch a live database move to another server
	@$(BIN)/towline demo $(ARGS)

# The check runs beside the first tests, which wait for servers much of the time.
test: system-packages $(TEST_READY) ## Install what the tests need, check the code and run all tests
	@checked=$$(mktemp); ($(MAKE) --no-print-directory lint > $$checked 2>&1) & lint=$$!; \
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS); tests=$$?; \
	wait $$lint; lint=$$?; [ $$lint -eq 0 ] || cat $$checked; rm -f $$checked; exit $$((tests > lint ? tests : lint))

test-mysql-versions: $(TEST_READY) ## Run the tests of MySQL and MariaDB with older and newer servers
	@scripts/system-packages test
	@scripts/system-packages versions
	@scripts/test-mysql-versions $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-crossing: $(TEST_READY) ## Kill jobs from PostgreSQL to MySQL at more points than `make test` does
	@scripts/system-packages test
	@CI=true TOWLINE_ALL_POINTS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal \
		tests/integration/crossing tests/fault/test_kill_cross.py $(ARGS)

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

bench-mysql: $(TEST_READY) ## Measure MariaDB jobs against other tools; without ARGS also bench-to-pg and bench-mysql-decode
	@scripts/system-packages test
	@scripts/system-packages bench
	@$(BIN)/python bench/mysql.py $(ARGS)
	@[ -n "$(ARGS)" ] || $(BIN)/python bench/to_pg.py
	@[ -n "$(ARGS)" ] || $(BIN)/python bench/mysql_decode.py

bench-mysql-decode: $(TEST_READY) ## Measure the binlog decoder alone, one JSON line per case and product
	@scripts/system-packages test
	@$(BIN)/python bench/mysql_decode.py $(ARGS)

bench-to-pg: $(TEST_READY) ## Measure MariaDB to PostgreSQL against pgloader, one JSON line
	@scripts/system-packages test
	@scripts/system-packages bench
	@$(BIN)/python bench/to_pg.py $(ARGS)

bench-api: $(TEST_READY) ## Measure batch-progress with many jobs, beside a bare SELECT
	@scripts/system-packages bench
	@$(BIN)/python bench/api.py $(ARGS)

referee: $(TEST_READY) ## Hold the claimed delay against the true one while things go wrong, one JSON line each
	@scripts/system-packages referee
	@$(BIN)/python bench/referee.py $(ARGS)

kill-ddl: $(TEST_READY) ## Kill MySQL and MariaDB jobs at every point around DDL
	@scripts/system-packages test
	@$(BIN)/python -m pytest tests/fault/kill_ddl_campaign.py tests/fault/kill_ddl_to_postgres_campaign.py $(ARGS)

kill-renames: $(TEST_READY) ## Kill MySQL and MariaDB jobs whose objects have other names on the target
	@timeout 300 $(BIN)/python -m pytest tests/fault/kill_renames.py $(ARGS)

progress-situations: $(TEST_READY) ## Hold percent and remaining time against what happens to deceiving tables
	@$(BIN)/python bench/progress.py $(ARGS)

bench-memory: $(TEST_READY) ## Measure a worker's peak memory with large tables, rows and transactions
	@scripts/system-packages bench
	@$(BIN)/python bench/memory.py $(ARGS)

system-packages:
	@scripts/system-packages test

fuzz-api: $(TEST_READY) ## Send 20,000 generated requests to a server, from /openapi.json
	@$(BIN)/python -m tests.api.generated

sdk-oldest: $(SDK_OLDEST)/.ready ## Run the tests of the vendor's client with its oldest version, at most ten minutes
	@scripts/system-packages test
	@$(SDK_OLDEST)/bin/python -m pip --disable-pip-version-check freeze --local | grep huaweicloud
	@timeout 600 $(SDK_OLDEST)/bin/python -m pytest $(SDK_TESTS) $(ARGS)

fault-join: $(TEST_READY) ## Kill workers wherever objects join or leave a job that has run, and let writers at it
	@scripts/system-packages test
	@TOWLINE_CAMPAIGN=1 timeout 900 $(BIN)/python -m pytest tests/fault/test_join.py tests/fault/test_leave.py $(ARGS)

reference: $(TEST_READY) ## Make the reference page of the HTTP API from the code
	@$(BIN)/python -m towline.api.reference > docs/reference.md

lock: $(TEST_READY) ## Choose new versions of all packages; ARGS="--upgrade" for the newest
	@$(INSTALL) pip-tools
	@$(COMPILE) $(ARGS) --extra demo --extra test --output-file requirements/test.lock pyproject.toml
	@$(COMPILE) --constraint requirements/test.lock --extra demo --output-file requirements/demo.lock pyproject.toml
	@$(COMPILE) --constraint requirements/test.lock --output-file requirements/runtime.lock pyproject.toml

clean: ## Remove the virtual environment and everything that was made
	@rm -rf $(VENV) $(SDK_OLDEST) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
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

$(SDK_OLDEST)/.ready: requirements/sdk-oldest.lock $(TEST_READY)
	@$(BIN)/python -m venv --clear $(SDK_OLDEST)
	@$(SDK_OLDEST)/bin/python -m pip --quiet --disable-pip-version-check --no-input install --no-deps --require-hashes \
		--requirement requirements/sdk-oldest.lock
	@scripts/stack-venv $(SDK_OLDEST) $(VENV)
	@touch $@
