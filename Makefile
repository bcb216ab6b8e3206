# `make help` lists the targets. Everything runs in .venv, which is created from requirements with hashes.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test test-fast test-unit test-contract test-integration test-network test-browser test-chaos test-bench \
	test-simulate screenshots pictures chaos lint vulture-allowlist format types bench-probe bench-query bench-grafana bench-ingest bench-agent simulate schema dashboards \
	docs lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

# Debian's python3 has no ensurepip. Its python3-venv or python3-pip packages need root to install.
$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "leadline needs Python 3.11 or newer; select one with: make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## run a collector, four agents and 28 simulated days on this machine
	@$(BIN)/leadline demo $(ARGS)

# One worker more than cores, because some tests wait for a minute and use no CPU.
PARALLEL := --numprocesses $(shell expr $$(nproc) + 1) --dist loadfile

# Tests that measure time or use the whole machine run alone. The others run in the order of the folders: the short unit
# tests are last, so that no core is idle for long. Exit status 5: ARGS selects no test of this half.
test: $(STAMP) ## run all tests; network and chaos tests need root and are skipped without it
	$(BIN)/pytest -m "not network and not chaos" $(PARALLEL) --no-loadscope-reorder $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/pytest -m "network or chaos" $(ARGS) || [ $$? -eq 5 ]

test-unit: $(STAMP) ## run tests/unit: no root, database, browser, network or other process; under a minute on two cores
	$(BIN)/pytest tests/unit --numprocesses auto --dist worksteal $(ARGS)

test-contract: $(STAMP) ## run tests/contract: commands, wire, images, compose file, imports
	$(BIN)/pytest tests/contract $(PARALLEL) $(ARGS)

test-integration: $(STAMP) ## run tests/integration: a collector over HTTP, on SQLite and on PostgreSQL
	$(BIN)/pytest tests/integration $(PARALLEL) $(ARGS)

test-network: $(STAMP) ## run tests/network: an emulated WAN between network namespaces (needs root)
	$(BIN)/pytest tests/network $(ARGS)

test-browser: $(STAMP) ## run tests/browser: the pages in a real Chromium
	$(BIN)/pytest tests/browser $(ARGS)

test-chaos: $(STAMP) ## run tests/chaos: short chaos runs, and broken variants that they must detect (needs root)
	$(BIN)/pytest tests/chaos $(ARGS)

test-bench: $(STAMP) ## run tests/bench: the calculations of the benchmarks, without running them
	$(BIN)/pytest tests/bench $(PARALLEL) $(ARGS)

test-simulate: $(STAMP) ## run tests/simulate: a short simulation of verdicts
	$(BIN)/pytest tests/simulate $(PARALLEL) $(ARGS)

test-fast: $(STAMP) ## run all tests except those that take minutes
	$(BIN)/pytest -m "not slow and not chaos" $(ARGS)

screenshots: $(STAMP) ## write screenshots of every page to build/screenshots or LEADLINE_SCREENSHOTS
	$(BIN)/python -m tests.browser screenshots

pictures: $(STAMP) ## write the README's pictures from the demo's data to docs/pictures
	$(BIN)/python -m tests.browser pictures

chaos: $(STAMP) ## run fault injection for SECONDS=60 with SEED=1 on DATABASE=sqlite and check the result (needs root)
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) --database $(or $(DATABASE),sqlite)

lint: $(STAMP) ## check format, rules, imports and unused code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture

vulture-allowlist: $(STAMP) ## update the list of names that vulture must not report, after a rename
	$(BIN)/python -m tests.contract.vulture_groups

format: $(STAMP) ## format the code and apply automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP) ## check types with mypy (strict)
	$(BIN)/mypy

bench-probe: $(STAMP) ## measure RTT error and CPU against fping and icmplib (needs root and fping)
	$(BIN)/python -m tests.bench.probe $(ARGS)

bench-agent: $(STAMP) ## measure memory, CPU, start time and bytes of an agent with a collector on loopback (needs root)
	$(BIN)/python -m tests.bench.agent $(ARGS)

bench-query: $(STAMP) ## measure queries over months, compaction and bytes a probe on both databases
	$(BIN)/python -m tests.bench.query $(ARGS)

bench-grafana: $(STAMP) ## measure every dashboard query with 50 sites and 30 days on PostgreSQL
	$(BIN)/python -m tests.bench.grafana $(ARGS)

bench-ingest: $(STAMP) ## measure samples a second for each core and p99 of a POST, against VictoriaMetrics if installed
	$(BIN)/python -m tests.bench.ingest $(ARGS)

simulate: $(STAMP) ## check verdicts on simulated paths: coverage of bounds, false verdicts, monotony (RUNS=400 SEED=1)
	$(BIN)/python -m tests.simulate --runs $(or $(RUNS),400) --seed $(or $(SEED),1) $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url pyproject.toml

lock: $(STAMP) ## update the requirements files
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --upgrade --extra collector --group dev -o requirements/dev.txt
	$(COMPILE) -c requirements/dev.txt -o requirements/agent.txt
	$(COMPILE) -c requirements/dev.txt --extra collector -o requirements/collector.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url -c requirements/dev.txt --group build -o requirements/build.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --upgrade --group docs -o requirements/docs.txt

# The documentation has its own environment, independent of the product.
DOCS := build/docs-env
$(DOCS)/.installed: requirements/docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

# Warnings are errors: broken links and anchors, documents outside the navigation. The second command fails if a page
# loads a resource from another host.
docs: $(DOCS)/.installed ## build the documentation site in build/docs; open build/docs/index.html
	@rm -rf build/docs build/docs-doctrees
	$(DOCS)/bin/python -m sphinx -b html -d build/docs-doctrees --nitpicky --fail-on-warning --keep-going --quiet docs build/docs
	@! grep -rnoE '<(script|link|img|source|iframe)[^>]*(src|href)="(https?:)?//[^"]*|@import url\((https?:)?//|url\("?https?://' \
		--include='*.html' --include='*.css' build/docs
	@echo "build/docs/index.html"

schema: $(STAMP) ## write docs/verdict.schema.json from the document types
	$(BIN)/python -c "import msgspec; from leadline_verdict.document import VerdictDocument; \
		print(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(VerdictDocument)), indent=2).decode())" \
		> docs/verdict.schema.json

dashboards: $(STAMP) ## generate Grafana's dashboards and alert rules
	$(BIN)/python -m leadline_dashboards.generate

clean: ## remove the environment and build results
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
