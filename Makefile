# make demo      trains, evaluates and samples a small GPT on real text
# make test      proves every feature once, in minutes
# make test-all  all tests: whole lives of runs, several processes, products, memory too
# make proof     attention: every pattern, path and setting, the full product (half an hour or more)
# Each sets up what it needs in $(VENV) first; nothing but Python 3.11 or newer, git and make.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
ARGS ?=

BIN := $(VENV)/bin
# uv is several times quicker than pip, but does not read pip.conf: where only that names a
# reachable index, pip does it.
define install
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt $(1) \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt $(1)
endef

.PHONY: demo test test-all proof setup lint bench

demo: $(VENV)/.run-installed
	$(BIN)/python -m experiments.demo

PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

test: $(VENV)/.dev-installed
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.dev-installed
	$(PYTEST) $(ARGS)

proof: $(VENV)/.dev-installed
	$(PYTEST) tests/attention --proof $(ARGS)

setup: $(VENV)/.$(EXTRAS)-installed

lint: $(VENV)/.dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(VENV)/.run-installed
	$(BIN)/python -m experiments.benchmark --suite=train

$(VENV)/.run-installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gptjax needs Python 3.11 or newer, got %d.%d; name one: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(call install,-e .)
	@touch $@

$(VENV)/.%-installed: $(VENV)/.run-installed
	$(call install,-e '.[$*]')
	@touch $@
