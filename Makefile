# `make train` and `make test` need nothing but Python >= 3.10: the environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
ARGS ?=

.PHONY: help install train test check format bench paper paper-quick policies policies-quick clean

help:
	@echo "make train   train DDPG on the default problem and print the comparison (ARGS='--seed 1 ...')"
	@echo "make test    run the tests (ARGS='tests/test_env.py -k seed')"
	@echo "make check   formatting, lint and types"
	@echo "make bench   speed, as ratios measured within one run"
	@echo "make paper   the paper's experiments, figures 4-6 and tables, into results/paper; resumable, one and a half hours or more"
	@echo "make policies   learned policies against everything else, into results/policies; resumable, hours"
	@echo "make policies-quick   the same on small problems, in minutes"
	@echo "make paper-quick   the same chain on small problems, in minutes, with checks of the outcome"

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[agents,test,dev]'
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
	$(BIN)/python -m benchmarks.speed $(ARGS)

paper: $(STAMP)
	$(BIN)/python -m benchmarks.paper $(ARGS)

paper-quick: $(STAMP)
	$(BIN)/python -m benchmarks.paper --quick $(ARGS)

policies: $(STAMP)
	$(BIN)/python -m benchmarks.policies $(ARGS)

policies-quick: $(STAMP)
	$(BIN)/python -m benchmarks.policies --quick $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
