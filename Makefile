# `make help` lists what there is. Everything runs from .venv, which is made from hashed requirements.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test test-fast test-browser screenshots pictures chaos test-chaos lint format types bench-probe bench-query bench-grafana bench-ingest bench-agent simulate schema dashboards \
	docs lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

# Debian's python3 comes without ensurepip; --without-pip and the pip of the distribution would need root too.
$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "leadline needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## a collector, four agents and 28 simulated days on this machine
	@$(BIN)/leadline demo $(ARGS)

# One worker more than cores: some tests wait for a minute to pass and need no core.
PARALLEL := --numprocesses $(shell expr $$(nproc) + 1) --dist loadfile

# What measures time, or fills the machine by itself, runs alone. The rest goes in the order of the folders: unit tests come
# last and are short, so that no core waits for long. Status 5: ARGS chose no test of that half.
test: $(STAMP) ## every test; those of the network and of chaos need root and say so when they are skipped
	$(BIN)/pytest -m "not network and not chaos" $(PARALLEL) --no-loadscope-reorder $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/pytest -m "network or chaos" $(ARGS) || [ $$? -eq 5 ]

test-unit: $(STAMP) ## tests/unit: no root, database, browser, network or other process; under a minute on two cores
	$(BIN)/pytest tests/unit --numprocesses auto --dist worksteal $(ARGS)

test-contract: $(STAMP) ## tests/contract: commands, wire, images, compose file, imports
	$(BIN)/pytest tests/contract $(PARALLEL) $(ARGS)

test-integration: $(STAMP) ## tests/integration: a collector over HTTP, on SQLite and on PostgreSQL
	$(BIN)/pytest tests/integration $(PARALLEL) $(ARGS)

test-network: $(STAMP) ## tests/network: an emulated WAN between network namespaces (needs root)
	$(BIN)/pytest tests/network $(ARGS)

test-browser: $(STAMP) ## tests/browser: the pages in a real Chromium
	$(BIN)/pytest tests/browser $(ARGS)

test-chaos: $(STAMP) ## tests/chaos: short chaos runs, and the broken variants they must catch (needs root)
	$(BIN)/pytest tests/chaos $(ARGS)

test-bench: $(STAMP) ## tests/bench: the arithmetic of the benchmarks, without running them
	$(BIN)/pytest tests/bench $(PARALLEL) $(ARGS)

test-simulate: $(STAMP) ## tests/simulate: a short simulation of verdicts, and its counts
	$(BIN)/pytest tests/simulate $(PARALLEL) $(ARGS)

test-fast: $(STAMP) ## all but the tests that take minutes
	$(BIN)/pytest -m "not slow and not chaos" $(ARGS)

screenshots: $(STAMP) ## every page, light and dark, wide and on a phone, into build/screenshots (or LEADLINE_SCREENSHOTS)
	$(BIN)/python -m tests.browser screenshots

pictures: $(STAMP) ## the README's pictures, from the demo's data, into docs/pictures
	$(BIN)/python -m tests.browser pictures

chaos: $(STAMP) ## kill, cut and lie for SECONDS=60 from SEED=1 on DATABASE=sqlite, and count (needs root)
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) --database $(or $(DATABASE),sqlite)

lint: $(STAMP) ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture

vulture-allowlist: $(STAMP) ## write the names in use that vulture does not see, after a rename
	$(BIN)/python -m tests.contract.vulture_groups

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

bench-probe: $(STAMP) ## RTT error and CPU beside fping and icmplib (needs root and fping)
	$(BIN)/python -m tests.bench.probe $(ARGS)

bench-agent: $(STAMP) ## memory, CPU, start and bytes of an agent with its collector on loopback (needs root)
	$(BIN)/python -m tests.bench.agent $(ARGS)

bench-query: $(STAMP) ## matrices, series and exact counts of months, compaction, bytes a probe, on both databases
	$(BIN)/python -m tests.bench.query $(ARGS)

bench-grafana: $(STAMP) ## every dashboard query of 50 sites over 30 days on PostgreSQL
	$(BIN)/python -m tests.bench.grafana $(ARGS)

bench-ingest: $(STAMP) ## samples a second, per core, and p99 of a POST, beside VictoriaMetrics (if installed)
	$(BIN)/python -m tests.bench.ingest $(ARGS)

simulate: $(STAMP) ## verdicts on paths of known truth: coverage of the intervals, false verdicts (RUNS=400 SEED=1)
	$(BIN)/python -m tests.simulate --runs $(or $(RUNS),400) --seed $(or $(SEED),1) $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url pyproject.toml

lock: $(STAMP) ## resolve the requirements files anew
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --upgrade --extra collector --group dev -o requirements/dev.txt
	$(COMPILE) -c requirements/dev.txt -o requirements/agent.txt
	$(COMPILE) -c requirements/dev.txt --extra collector -o requirements/collector.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url -c requirements/dev.txt --group build -o requirements/build.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --upgrade --group docs -o requirements/docs.txt

# The site has an environment of its own: it needs none of the product, and the product needs none of it.
DOCS := build/docs-env
$(DOCS)/.installed: requirements/docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

# A warning is an error: broken links and anchors, documents outside the navigation. The second command fails if a page
# loads anything from another host.
docs: $(DOCS)/.installed ## the documentation as a site in build/docs; open build/docs/index.html
	@rm -rf build/docs build/docs-doctrees
	$(DOCS)/bin/python -m sphinx -b html -d build/docs-doctrees --nitpicky --fail-on-warning --keep-going --quiet docs build/docs
	@! grep -rnoE '<(script|link|img|source|iframe)[^>]*(src|href)="(https?:)?//[^"]*|@import url\((https?:)?//|url\("?https?://' \
		--include='*.html' --include='*.css' build/docs
	@echo "build/docs/index.html"

schema: $(STAMP) ## write docs/verdict.schema.json from the document's types
	$(BIN)/python -c "import msgspec; from leadline_verdict.document import VerdictDocument; \
		print(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(VerdictDocument)), indent=2).decode())" \
		> docs/verdict.schema.json

dashboards: $(STAMP) ## write Grafana's dashboards and alert rules from the Python that makes them
	$(BIN)/python -m leadline_dashboards.generate

clean: ## remove the environment and what builds leave
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
