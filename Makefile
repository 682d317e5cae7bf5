# `make train` and `make test` need nothing but Python >= 3.10: the environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
ARGS ?=

.PHONY: help install train test check format bench clean

help:
	@echo "make train   train DDPG on the default problem and print the comparison (ARGS='--seed 1 ...')"
	@echo "make test    run the tests (ARGS='tests/test_env.py -k seed')"
	@echo "make check   formatting, lint and types"
	@echo "make bench   speed, as ratios measured within one run"

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	@touch $@

install: $(STAMP)

train: $(STAMP)
	$(BIN)/python train.py --algo ddpg $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m agents.speed $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
