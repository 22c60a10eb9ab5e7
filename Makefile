# Roomful from a clone. `make` alone lists what there is; a line with `##` is a command for people.

# The interpreter to set up with (PYTHON=python3.12). Empty: the first one found that is new enough.
PYTHON ?=
# More arguments for pytest: make test ARGS="tests/wire -x".
ARGS ?=

PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet
STATIC := src/roomful/server/static
WEB := $(wildcard web/* js/crdt/src/*)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test lint bench lock clean

help: ## list these commands
	@echo 'Roomful: real-time rooms for Python. Start with `make run`.'
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F '|' '{ printf "%-13s  %s\n", $$1, $$2 }'

setup: .venv/roomful.stamp $(STATIC)/index.html ## make .venv with .venv/bin/roomful, and bundle the demo pages

run: setup ## serve with everything open, on loopback only: http://127.0.0.1:8000
	exec .venv/bin/roomful serve --dev

test: setup .venv/dev.stamp ## run every test (ARGS="…" for pytest)
	scripts/test-components
	.venv/bin/python -m pytest -rs $(ARGS)

lint: setup .venv/dev.stamp ## ruff, mypy --strict, tsc
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy --strict
	node_modules/.bin/tsc --project web
	node_modules/.bin/tsc --project js/crdt

bench: setup .venv/dev.stamp ## measure beside peers, into benchmarks/RESULTS.md (ARGS=--quick: some minutes)
	.venv/bin/python benchmarks $(ARGS)

lock: .venv/dev.stamp ## renew the lock files to the newest versions that pyproject.toml and package.json allow
	scripts/lock

clean: ## remove everything that set-up made
	rm -rf .venv node_modules $(STATIC)

# Set-up. A stamp is newer than what it was made from, so that a second `make setup` has nothing to do.

.venv/bin/python:
	scripts/make-venv $(PYTHON)

.venv/run.stamp: requirements.lock | .venv/bin/python
	$(PIP) install --require-hashes -r requirements.lock
	touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	$(PIP) install --require-hashes -r requirements-dev.lock
	touch $@

# Not isolated: the build's own requirements are in the lock too.
.venv/roomful.stamp: pyproject.toml $(wildcard hatch_build.py src/roomful/wire/*.proto) .venv/run.stamp
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

node_modules/stamp: package-lock.json .npmrc
	scripts/need npm npm
	npm ci
	touch $@

$(STATIC)/index.html: $(WEB) node_modules/stamp
	rm -rf $(STATIC)
	node_modules/.bin/esbuild web/index.html web/style.css web/main.ts web/document.html web/document.css web/document.ts \
	  --loader:.html=copy --outdir=$(STATIC) \
	  --bundle --minify --format=esm --target=es2022 --legal-comments=eof --log-level=warning
	touch $@
