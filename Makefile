# Every target sets up .venv/ on its first use.
# On Linux PyPI's torch is the CUDA build (gigabytes). For the CPU build:
#   make train TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
PARALLEL := -n logical --maxprocesses 4 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup train study study-quick test test-slow lint notebooks tensorboard clean

help:
	@echo "make train        train an LSTM until it solves binary palindromes: about a minute"
	@echo "make study        the whole study again, many hours, resumable; python study.py --list shows them"
	@echo "make study-quick  the same with short runs, which show that everything works: minutes"
	@echo "make test         lint, types, import contracts, tests, notebooks"
	@echo "make test-slow    the slow tests, to be run before a release: they take much longer"
	@echo "make notebooks    open notebooks/ in JupyterLab"
	@echo "make tensorboard  the dashboard of runs/"
	@echo "make setup        only set up .venv/ with the versions of constraints.txt"

setup: .venv/installed

.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install -q -c constraints.txt --index-url $(TORCH_INDEX) torch)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt --editable '.[test,notebooks,onnx]'
	touch $@

train: setup
	$(BIN)/python train.py --config palindrome_lstm.yaml --solved.stop true
	@echo
	@echo "Next:"
	@echo "  accuracy and loss in a browser   make tensorboard"
	@echo "  a language model of a book       $(BIN)/python train.py --config book_lstm.yaml --data.download true"
	@echo "  the common options               $(BIN)/python train.py --help"

study: setup
	$(BIN)/python study.py

study-quick: setup
	rm -rf runs/study/quick
	$(BIN)/python study.py --quick

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --durations 15 -m 'not slow and not gpu'

test-slow: setup
	$(BIN)/python -m pytest -m 'slow and not gpu'

notebooks: setup
	$(BIN)/jupyter lab notebooks

tensorboard: setup
	$(BIN)/tensorboard --logdir runs

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
