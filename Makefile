# The commands of a developer, one target each. A fresh machine needs make, bash and Python 3.11, 3.12 or 3.13.
.DEFAULT_GOAL := help

VENV ?= $(CURDIR)/.venv
PEERS ?= $(CURDIR)/.venv-peers
# an emulator of Snowflake for tests alone, whose packages do not fit ours
export FAKESNOW ?= $(CURDIR)/.venv-fakesnow
# the demo names it at its end
export PORT ?= 3000
# two more than the processors of a small machine: end-to-end tests mostly wait
PYTEST_WORKERS ?= 4
SCENARIOS ?= 100000
SECONDS ?= 300
MOST ?= 40
ROWS ?= 1000000
# All groups except those that the embedded deployment does not use: Kubernetes, and Spark with its package of 450 MB
GROUPS := aws azure build demo dev docs gcs kafka mssql oracle sftp snowflake test

export DATAOPS_HOME ?= $(CURDIR)/.dataops
export DAGSTER_HOME ?= $(DATAOPS_HOME)/dagster
# dagster-dbt and dg start their programs by name
export PATH := $(VENV)/bin:$(PATH)
# one event for each asset of a run that is planned, and not for each of its inputs
export DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS := true
# Dagster's default of 60 is too short where the machine is busy and the first run has to load the code location
export DAGSTER_GRPC_TIMEOUT_SECONDS := 180
# if it is set, every process compiles all packages again, 2 s each
unexport PYTHONDONTWRITEBYTECODE

INSTALLED := $(VENV)/.installed
INSTANCE := $(DAGSTER_HOME)/dagster.yaml
# not in DATAOPS_HOME, which `make clean` empties
export DATAOPS_SPARK_JARS ?= $(CURDIR)/.jars
JARS := $(DATAOPS_SPARK_JARS)/.fetched
# a broker for tests alone
export KAFKA_JARS_FOLDER ?= $(CURDIR)/.jars-kafka
KAFKA_JARS := $(KAFKA_JARS_FOLDER)/.fetched
# an emulator of Azure for tests alone
export AZURITE_FOLDER ?= $(CURDIR)/.azurite
AZURITE := $(AZURITE_FOLDER)/.installed

.PHONY: help setup spark jars fakesnow azurite demo dev deploy check test compiled docs pictures law kill benchmark benchmark-spark benchmark-recalculation benchmark-scale benchmark-releases benchmark-detection benchmark-latency benchmark-many-sources benchmark-new-file benchmark-first-load benchmark-large-file benchmark-logs benchmark-databases mutations lint format lock clean

help: ## Show the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1:\2/p' Makefile | sed 's/:/                              /; s/^\(.\{32\}\) */\1/'

setup: $(INSTALLED) $(INSTANCE) ## Install the locked packages into .venv

spark: setup jars ## Install Spark beside the embedded engine (needs Java 17)
	@deploy/local/setup.sh $(VENV) $(GROUPS) spark

jars: $(JARS) $(KAFKA_JARS) ## Fetch the jars of Spark, and of the Kafka broker of tests (needs Maven)

fakesnow: setup $(FAKESNOW)/.installed ## Install the emulator of Snowflake that tests start

azurite: $(AZURITE) ## Install the emulator of Azure Blob Storage that tests start (needs npm)

demo: setup ## Run two subject areas from raw data to the warehouse
	@$(VENV)/bin/dataops demo

dev: setup ## Open the Dagster UI on the result, with its daemon
	@echo 'Dagster UI: http://127.0.0.1:$(PORT) answers in some seconds; Ctrl-C ends it'
	@# in a new home dbt parses its project while Dagster starts
	@[ -d $(DATAOPS_HOME)/dbt ] || $(VENV)/bin/dataops warehouse prepare > /dev/null 2>&1 &
	@PYTHONWARNINGS='ignore:Function `dev_command` is superseded' \
		$(VENV)/bin/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

# how a machine of the deployment takes the code that is checked out
DEPLOY ?= docker compose --file deploy/compose.yaml up --build --detach

deploy: ## Deploy the code of this folder with the command DEPLOY (docker compose)
	@$(DEPLOY)

check: lint ## Check style and types and run the fast tests
	@$(VENV)/bin/pytest --quiet --numprocesses 2 -m 'not slow' tests/unit

docs: setup ## Build the documentation site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

test: setup ## Run all tests
	@$(VENV)/bin/pytest --numprocesses $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

# on a fresh machine each of the workers would compile all modules, 20 s each
compiled: setup
	@found=$$($(VENV)/bin/pytest --collect-only --quiet) || { echo "$$found"; exit 1; }

pictures: setup ## Take the pictures of the tutorial again (needs Chromium)
	@DATAOPS_SCREENSHOTS=docs/images $(VENV)/bin/pytest --quiet tests/end_to_end/test_tutorial.py

law: setup ## Test the law of the hub with SCENARIOS (100000) of each refresh type
	@DATAOPS_LAW_SCENARIOS=$(SCENARIOS) $(VENV)/bin/pytest --numprocesses $(PYTEST_WORKERS) --dist load \
		tests/properties/test_law_of_the_timelines.py

kill: setup ## Kill processes of a deployment at random for SECONDS (300), and compare it at rest
	@DATAOPS_KILL_SECONDS=$(SECONDS) $(VENV)/bin/pytest --capture no tests/kill

benchmark: setup $(PEERS)/.installed ## Compare the time of changes to a hub of ROWS (1000000) with other tools
	@PEERS_PYTHON=$(PEERS)/bin/python $(VENV)/bin/python tests/benchmarks/hub_changes.py --rows $(ROWS)

benchmark-spark: spark ## Compare the time of changes to a hub of ROWS on Spark with a MERGE
	@$(VENV)/bin/python tests/benchmarks/spark_changes.py --rows $(ROWS)

benchmark-recalculation: setup ## Compare recalculating rules of ROWS (1000000) with computing all of them
	@$(VENV)/bin/python tests/benchmarks/recalculation.py --rows $(ROWS)

benchmark-scale: setup ## Measure how costs grow with inputs, sources and columns
	@$(VENV)/bin/python tests/benchmarks/scale.py

benchmark-releases: setup $(PEERS)/.installed ## Measure releases, rollbacks, environments and plans, the latter beside SQLMesh
	@$(VENV)/bin/python tests/benchmarks/releases.py
	@$(VENV)/bin/python tests/benchmarks/plans.py --peers $(PEERS)/bin/python

benchmark-detection: setup ## Compare how many faults the checks find with other methods, at equally many false alarms
	@$(VENV)/bin/python tests/benchmarks/detection.py
	@$(VENV)/bin/python tests/benchmarks/whole_profiles.py
	@$(VENV)/bin/python tests/benchmarks/sales.py
	@$(VENV)/bin/python tests/benchmarks/streams.py
	@$(VENV)/bin/python tests/benchmarks/arrivals.py

benchmark-logs: setup jars ## Measure PostgreSQL's log and a topic of Kafka beside the plain ways to read them
	@ROWS=200000 $(VENV)/bin/pytest -q -n 0 -s tests/benchmarks/logs_and_topics.py

benchmark-databases: setup $(PEERS)/.installed ## Measure PostgreSQL to a hub and back for ROWS (1000000) beside dlt and COPY
	@ROWS=$(ROWS) PEERS_PYTHON=$(PEERS)/bin/python $(VENV)/bin/pytest -q -n 0 -s tests/benchmarks/database_loads.py

benchmark-latency: setup ## Measure how long files take to the hub and the warehouse under the daemon
	@PYTHONPATH=tests/end_to_end $(VENV)/bin/python tests/benchmarks/latency.py

benchmark-many-sources: setup ## Measure runs and the asset graph of 500 sources under the daemon (needs Chromium)
	@PYTHONPATH=tests/end_to_end:tests/benchmarks $(VENV)/bin/python tests/benchmarks/many_sources.py

benchmark-new-file: setup $(PEERS)/.installed ## Compare the time of one new file to the warehouse with other tools
	@PYTHONPATH=tests/end_to_end PEERS_PYTHON=$(PEERS)/bin/python $(VENV)/bin/python tests/benchmarks/one_new_file.py

benchmark-first-load: setup ## Compare a first load of a million rows with a script written by hand
	@PYTHONPATH=tests/end_to_end $(VENV)/bin/python tests/benchmarks/first_load.py

benchmark-large-file: setup ## Measure a CSV file of 2 GB from the landing area to the hub, beside plain read_csv
	@$(VENV)/bin/python tests/benchmarks/large_file.py

mutations: setup ## Make MOST (40) faults in each chosen module and show those that no test notices
	@nice $(VENV)/bin/python tests/mutations/mutate.py --most $(MOST)

lint: setup ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup ## Format the code and fix what the linter can fix
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .

lock: ## Resolve the pinned dependencies again into requirements.lock
	@deploy/local/setup.sh $(VENV)
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--quiet --output-file requirements.lock

clean: ## Remove the output of demo and tests; the environment stays
	rm -rf $(DATAOPS_HOME) dbt_project/target dbt_project/logs .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(INSTALLED): pyproject.toml requirements.lock deploy/local/setup.sh
	@deploy/local/setup.sh $(VENV) $(GROUPS)
	@touch $@

$(PEERS)/.installed: tests/benchmarks/peers.txt
	@$(VENV)/bin/python -m venv $(PEERS)
	@$(VENV)/bin/uv pip install --quiet --python $(PEERS)/bin/python --requirement $<
	@touch $@

$(FAKESNOW)/.installed: tests/integration/databases/fakesnow.txt
	@$(VENV)/bin/python -m venv $(FAKESNOW)
	@# where uv cannot reach the packages, pip does
	@$(VENV)/bin/uv pip install --quiet --python $(FAKESNOW)/bin/python --requirement $< 2> /dev/null \
		|| $(FAKESNOW)/bin/pip install --quiet --requirement $<
	@touch $@

$(AZURITE): tests/azurite/package-lock.json
	@mkdir -p $(@D)
	@cp tests/azurite/package.json $< $(@D)
	@npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(INSTANCE): deploy/local/dagster.yaml
	@mkdir -p $(@D)
	@cp $< $@

$(JARS): deploy/spark/pom.xml
	@rm -rf $(@D)
	@mvn --batch-mode --quiet --file $< dependency:copy-dependencies -DoutputDirectory=$(@D)
	@touch $@

$(KAFKA_JARS): tests/kafka/pom.xml
	@rm -rf $(@D)
	@mvn --batch-mode --quiet --file $< dependency:copy-dependencies -DoutputDirectory=$(@D)
	@touch $@
