# `make lab` for learners, `make test` for the checks; both set everything up on first use.
#
#   make lab         JupyterLab on notebooks/           PORT=8888, LAB_FLAGS='…'
#   make test        every check: ruff, the unit tests, the notebooks
#   make translate   train a small translator, measure it, translate three sentences
#   make setup       the environment alone              PYTHON=3.11 or PYTHON=/path/to/python
#   make test-unit   the fast unit tests alone          PYTEST_FLAGS='-k attention'
#   make test-oldest the unit tests with the oldest supported versions: Python 3.9, MindSpore 2.7.0
#   make test-golden the golden values of the tests, computed again with PyTorch
#   make clean       removes environments and caches; keeps downloads and runs/

PYTHON ?=
PYTHON39 ?= 3.9
GOLDEN_PYTHON ?=
MINDSPORE ?=
TORCH_PIP_FLAGS ?=
PORT ?= 8888
LAB_FLAGS ?=
TRANSLATE_FLAGS ?=
PYTEST_FLAGS ?=

PY := .venv/bin/python
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
# Every notebook is run from top to bottom; a cell that raises fails the check.
NBVAL := $(if $(NOTEBOOKS),--nbval-lax --nbval-current-env notebooks)

# Root gets no browser (browsers refuse root, and containers have none), nor does a Linux without a screen.
ROOT_FLAGS = $(shell [ "$$(id -u)" != 0 ] || echo --allow-root --no-browser)
SCREEN_FLAGS = $(shell [ "$$(uname)" != Linux ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || echo --no-browser)

.PHONY: help setup environment lab test test-unit test-oldest test-golden translate clean

help:
	@sed -n 's/^#   //p' Makefile

environment:
	@PYTHON='$(PYTHON)' MINDSPORE='$(MINDSPORE)' tools/setup.sh

setup: environment
	@echo "The environment .venv is ready: make lab opens the course."

lab: environment
	@mkdir -p notebooks
	@echo "Starting JupyterLab. Stop it with Ctrl-C. Without a browser, open the address with ?token= below."
	@JUPYTER_PREFER_ENV_PATH=1 $(PY) -m jupyterlab --port=$(PORT) $(sort $(ROOT_FLAGS) $(SCREEN_FLAGS)) \
		--ServerApp.root_dir='$(CURDIR)' --LabApp.default_url=/lab/tree/notebooks $(LAB_FLAGS)

test: environment
	$(PY) -m ruff check .
	$(PY) -m pytest tests $(NBVAL) $(PYTEST_FLAGS)

test-unit: environment
	$(PY) -m pytest tests -m 'not slow' $(PYTEST_FLAGS)

test-oldest:
	@PYTHON='$(PYTHON39)' tools/setup.sh oldest
	.venv-oldest/bin/python -m pytest tests -m 'not slow' $(PYTEST_FLAGS)

# PyTorch lives apart: nothing in the course needs it, and its CUDA build is never taken. Where pip's usual
# source has no CPU build, PyTorch's own index is asked; TORCH_PIP_FLAGS='--index-url …' names another.
test-golden:
	@PYTHON='$(GOLDEN_PYTHON)' TORCH_PIP_FLAGS='$(TORCH_PIP_FLAGS)' tools/setup.sh golden
	.venv-golden/bin/python tests/golden/make_golden.py --check

translate: environment
	$(PY) -m step_llm demo $(TRANSLATE_FLAGS)

clean:
	rm -rf .venv .venv-oldest .venv-golden
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist *.egg-info kernel_meta akg_kernel_meta rank_*
	find . -name .git -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} +
	@echo "Kept: data/multi30k/ (downloaded) and runs/ (trained). Delete them by hand."
