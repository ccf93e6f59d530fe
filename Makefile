.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
QUICK := tests/unit tests/property tests/contract tests/golden tests/cli
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup run check quick test fuzz faults audit mutants chromium golden bench accuracy coverage bands report reference docs clean

CLOSED_LOOPS ?= ../shared/validation/closed_loop_vllm.csv
FIGURES ?= ../shared/validation
TIMES ?= 100
MUTANTS ?= 40

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv and install everything into it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/python -m compileall -q simulator
	@touch $@

run: $(STAMP)  ## simulate scenarios/chatbot.yaml and write its report to reports/chatbot/
	$(BIN)/sim run scenarios/chatbot.yaml

check: $(STAMP)  ## formatting, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: $(STAMP)  ## the tests that take seconds
	$(BIN)/pytest -n auto --dist worksteal $(QUICK) --doctest-modules simulator

test: check chromium  ## everything that must pass
	$(BIN)/pytest -n auto --dist worksteal --durations=10 --doctest-modules tests simulator

fuzz: $(STAMP)  ## the property tests on cases that no run has drawn before: 30,000 of the engine, 2,000 bad files
	ENGINE_CASES=200 FUZZ_CASES=2000 $(BIN)/pytest -n auto --hypothesis-profile=fuzz tests/property

faults: $(STAMP)  ## signals, full disks, missing folders and broken clusters, done to the commands: hours
	PYTHONPATH=tests $(BIN)/python -m faults --times $(TIMES)

audit: $(STAMP)  ## known vulnerabilities of what is installed, by PyPI's advisories, and licences
	$(BIN)/python -m pip install --quiet --group audit
	PYTHONPATH=tests $(BIN)/python -m audit

mutants: $(STAMP)  ## small changes to the package, and which of them no test notices: MUTANTS of each of its parts, hours
	PYTHONPATH=tests $(BIN)/python -m mutants --each $(MUTANTS)

chromium:
	@command -v chromium >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; } || \
	  echo '*** No Chromium and no right to install it: the browser tests will be SKIPPED. Install the package chromium to run them. ***' >&2

golden: $(STAMP)  ## rewrite the golden summaries; review the diff
	$(BIN)/pytest tests/golden --rewrite-golden

bench: $(STAMP)  ## measure speed, as ratios in one run
	$(BIN)/python -m benchmarks

accuracy: $(STAMP)  ## closed loops in sample, left out by a refit and calibrated by two points, public reports, cards by class
	$(BIN)/python -m benchmarks.leave_out $(CLOSED_LOOPS)
	$(BIN)/python -m benchmarks.two_points $(CLOSED_LOOPS)
	$(BIN)/python -m benchmarks.public_reports $(FIGURES)
	$(BIN)/python -m benchmarks.cards

coverage: $(STAMP)  ## does the interval of a queueing point hold what runs ten times longer show, in 50 drawn workloads
	$(BIN)/python -m benchmarks.coverage

bands: $(STAMP)  ## the error bands of the catalog, anew from the published figures of FIGURES
	$(BIN)/python -m benchmarks.bands $(FIGURES) --write

report: $(STAMP)  ## the report of every scenario
	$(BIN)/sim run scenarios/*.yaml

reference: $(STAMP)  ## write the reference pages and the schema of scenarios again from the code
	$(BIN)/python docs/generate.py
	$(BIN)/sim schema --out scenarios/scenario.schema.json

docs: reference  ## the documentation as a site in site/
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(BIN)/sim schema --out site/scenario.schema.json

clean:  ## remove everything that can be made again
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find reports -mindepth 1 ! -name README.md -delete
