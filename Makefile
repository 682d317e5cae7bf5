# `make train` and `make test` need Python >= 3.10 and a package index: the environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
DOCS_STAMP = $(VENV)/.installed-docs
PEERS_STAMP = $(VENV)/.installed-peers
# constraints.txt pins what Python 3.11 and later can install; 3.10 gets the newest versions that support it.
PINNED = $$($(BIN)/python -c "import sys; print('--constraint constraints.txt' * (sys.version_info >= (3, 11)))")
# Processes that share the tests; "auto" is one for each core.
JOBS ?= auto
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal
ARGS ?=

.PHONY: help install train test check format bench paper paper-quick policies policies-quick peers peers-quick docs nightly clean

help:
	@echo "make train            train DDPG on the default problem and print the comparison (ARGS='--seed 1 ...')"
	@echo "make test             run the tests, except for the slow ones (ARGS='tests/test_env.py -k seed')"
	@echo "make check            formatting, lint and types"
	@echo "make format           format the code and mend what the linter can"
	@echo "make docs             build the site into build/docs; a warning is an error"
	@echo "make bench            speed, as ratios measured within one run"
	@echo "make paper            the paper's experiments, figures 4-6 and tables, into results/paper; resumable, over 1.5 hours"
	@echo "make paper-quick      the same chain on small problems, in minutes, with checks of the outcome"
	@echo "make policies         learned policies against everything else, into results/policies; resumable, hours"
	@echo "make policies-quick   the same on small problems, in minutes"
	@echo "make peers            minimize against other libraries on COCO's bbob, into results/peers; resumable, many hours"
	@echo "make peers-quick      the same on a few functions, under two minutes"
	@echo "make nightly          all tests, the slow ones too, with more and with random examples of hypothesis"
	@echo "make install          only make the environment; make clean removes it and whatever was built"

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PINNED) --editable '.[agents,test,dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet $(PINNED) --editable '.[docs]'
	@touch $@

$(PEERS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet $(PINNED) --editable '.[peers]'
	@touch $@

install: $(STAMP)

train: $(STAMP)
	$(BIN)/python train.py --algo ddpg $(ARGS)

test: $(STAMP)
	$(PYTEST) -m "not slow" $(ARGS)

nightly: $(STAMP)
	HYPOTHESIS_PROFILE=nightly $(PYTEST) $(ARGS)

# Types are checked where the packages are when they are installed: the agents inside zo_gym.
check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf build/typed
	mkdir -p build/typed
	cp -Rp zo_gym benchmarks build/typed/
	cp -Rp agents build/typed/zo_gym/agents
	cd build/typed && $(abspath $(BIN))/mypy --config-file $(CURDIR)/setup.cfg --cache-dir $(CURDIR)/.mypy_cache \
		-p zo_gym -p benchmarks

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --builder html docs build/docs $(ARGS)

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

peers: $(PEERS_STAMP)
	$(BIN)/python evaluate.py --peers $(ARGS)

peers-quick: $(PEERS_STAMP)
	$(BIN)/python evaluate.py --peers --quick $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
