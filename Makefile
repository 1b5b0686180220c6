# `make lab` for learners, `make test` for the checks; both set everything up on first use.
#
#   make lab         JupyterLab on notebooks/           PORT=8888, LAB_FLAGS='…'
#   make test        every check: ruff, the unit tests, the notebooks
#   make translate   train a small translator, measure it, translate three sentences
#   make setup       the environment alone              PYTHON=3.11 or PYTHON=/path/to/python
#   make notebooks   run the lessons from top to bottom and store their outputs   NOTEBOOKS='…'
#   make figures     draw the lessons' diagrams again
#   make test-lessons   the notebooks alone             LESSONS='notebooks/02_attention.ipynb'
#   make test-library   every check but the notebooks
#   make test-unit   the fast unit tests alone          PYTEST_FLAGS='-k attention'
#   make test-oldest the unit tests with the oldest supported versions: Python 3.9, MindSpore 2.7.0
#   make test-golden the golden values of the tests, computed again with PyTorch, transformers and TRL
#   make check-device   whether everything works on this device: a report   CHECK_FLAGS='--device GPU'
#   make bench       speed beside PyTorch and Hugging Face   BENCH_FLAGS='step decode'
#   make test-browser   three lessons in JupyterLab, in a headless Chromium
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
TEST_WORKERS ?= 2
BROWSER_FLAGS ?=
BENCH_FLAGS ?=
CHECK_FLAGS ?=

PY := .venv/bin/python
NOTEBOOKS ?=
LESSONS ?= notebooks
# A value as one word of the shell, whatever is in it: a folder may be called «Ada's», or worse.
quote = '$(subst ','\'',$(1))'
# Processes that share the tests, a file each; one needs up to 3 GiB of memory.
WORKERS = -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
# Every cell of every notebook is run, in quick mode, and its output compared with the stored one. The
# notebooks come first: they take minutes each, and what is short fills the gaps at the end.
NBVAL = --nbval --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg $(LESSONS)
# Lesson 05 takes the real Multi30k where a mirror of it is at hand, else the embedded corpus.
MULTI30K_MIRROR ?= $(abspath $(wildcard ../shared/multi30k))
GOLDEN = PYTHON=$(call quote,$(GOLDEN_PYTHON)) TORCH_PIP_FLAGS=$(call quote,$(TORCH_PIP_FLAGS))
QUICK = STEP_LLM_QUICK=1 JUPYTER_PREFER_ENV_PATH=1 MULTI30K_MIRROR=$(call quote,$(MULTI30K_MIRROR))

# Root gets no browser (browsers refuse root, and containers have none), nor does a Linux without a screen.
ROOT_FLAGS = $(shell [ "$$(id -u)" != 0 ] || echo --allow-root --no-browser)
SCREEN_FLAGS = $(shell [ "$$(uname)" != Linux ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || echo --no-browser)

.PHONY: help setup environment lab notebooks figures bench translate check-device clean
.PHONY: test test-lessons test-library test-unit test-oldest test-golden test-browser

help:
	@sed -n 's/^#   //p' Makefile

environment:
	@PYTHON=$(call quote,$(PYTHON)) MINDSPORE=$(call quote,$(MINDSPORE)) tools/setup.sh

setup: environment
	@echo "The environment .venv is ready: make lab opens the course."

lab: environment
	@mkdir -p notebooks
	@echo "Starting JupyterLab. Stop it with Ctrl-C. Without a browser, open the address with ?token= below."
	@JUPYTER_PREFER_ENV_PATH=1 $(PY) -m jupyterlab --port=$(PORT) $(sort $(ROOT_FLAGS) $(SCREEN_FLAGS)) \
		--ServerApp.root_dir=$(call quote,$(CURDIR)) --LabApp.default_url=/lab/tree/notebooks $(LAB_FLAGS)

test: environment
	$(PY) -m ruff check .
	$(QUICK) $(PY) -m pytest $(NBVAL) tests $(WORKERS) $(PYTEST_FLAGS)

test-lessons: environment
	$(QUICK) $(PY) -m pytest $(NBVAL) tests/test_notebooks.py $(WORKERS) $(PYTEST_FLAGS)

test-library: environment
	$(PY) -m ruff check .
	$(PY) -m pytest tests $(WORKERS) $(PYTEST_FLAGS)

notebooks: environment
	$(PY) tools/notebooks.py $(NOTEBOOKS)

figures: environment
	$(PY) notebooks/figures/make_figures.py

test-browser: environment
	$(PY) -m pip install --quiet -r requirements-browser.txt
	$(QUICK) $(PY) tests/browser/run_lessons.py $(BROWSER_FLAGS)

# Keep the machine quiet meanwhile: another busy program slows both sides, and not in equal parts.
bench: environment
	@$(GOLDEN) tools/setup.sh golden
	$(PY) benchmarks/speed.py $(BENCH_FLAGS)
	$(PY) benchmarks/readme.py

test-unit: environment
	$(PY) -m pytest tests -m 'not slow' $(WORKERS) $(PYTEST_FLAGS)

test-oldest:
	@PYTHON=$(call quote,$(PYTHON39)) tools/setup.sh oldest
	.venv-oldest/bin/python -m pytest tests -m 'not slow' $(WORKERS) $(PYTEST_FLAGS)

# PyTorch lives apart: nothing in the course needs it, and its CUDA build is never taken. Where pip's usual
# source has no CPU build, PyTorch's own index is asked; TORCH_PIP_FLAGS='--index-url …' names another.
test-golden:
	@$(GOLDEN) tools/setup.sh golden
	.venv-golden/bin/python tests/golden/make_golden.py --check
	.venv-golden/bin/python tests/golden/make_recurrent.py --check
	.venv-golden/bin/python tests/golden/make_huggingface.py --check
	.venv-golden/bin/python tests/golden/make_chat.py --check
	.venv-golden/bin/python tests/golden/make_minilm.py --check
	.venv-golden/bin/python tests/golden/make_dpo.py --check

check-device: environment
	$(PY) -m step_llm check $(CHECK_FLAGS)

translate: environment
	$(PY) -m step_llm demo $(TRANSLATE_FLAGS)

clean:
	rm -rf .venv .venv-oldest .venv-golden
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist *.egg-info kernel_meta akg_kernel_meta rank_*
	find . -name .git -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} +
	@echo "Kept: data/multi30k/ (downloaded) and runs/ (trained). Delete them by hand."
