# `make lab` for learners, `make test` for the checks; both set everything up on first use.
# Without make (Windows): py tools/make.py lab
#
#   make lab         JupyterLab, with lesson 00 of your copy, in my/   LANGUAGE=zh, PORT=8888, LAB_FLAGS='…'
#   make kernel      the environment for another JupyterLab: registers the kernel step_llm
#   make test        every check: ruff, the unit tests, the notebooks
#   make translate   train a small translator, measure it, translate three sentences
#   make setup       the environment alone              PYTHON=3.11 or PYTHON=/path/to/python
#   make notebooks   run the lessons from top to bottom and store their outputs   NOTEBOOKS='…'
#   make figures     draw the lessons' diagrams again, as SVG and PNG
#   make test-lessons   the notebooks alone             LESSONS='notebooks/02_attention.ipynb'
#   make test-library   every check but the notebooks
#   make test-unit   the fast unit tests alone          PYTEST_FLAGS='-k attention'
#   make test-oldest the unit tests with the oldest supported versions: Python 3.9, MindSpore 2.7.0
#   make test-ascend every model on MindSpore's Ascend backend, without an NPU
#   make test-gpu    every model on MindSpore's GPU backend, without a GPU
#   make test-golden the golden values of the tests, computed again with PyTorch, transformers and TRL
#   make test-attack the tests that attack: kills, full disks, hostile servers and folders   ATTACK_SCALE=5
#   make check-device   whether everything works on this device: a report   CHECK_FLAGS='--device GPU'
#   make bench       speed beside PyTorch and Hugging Face   BENCH_FLAGS='step decode'
#   make assignment  a lesson to hand out, and its solved twin       LESSON=04 LANGUAGE=zh
#   make grade       grades a folder of students' notebooks          FOLDER='…' LESSON=04 GRADE_FLAGS='…'
#   make bundle      an archive that sets itself up without a network   PLATFORM=windows-x86_64 PYTHON=3.11
#   make test-browser   three lessons in JupyterLab, in a headless Chromium
#   make site        the course as a site in English and Chinese: build/site/html   SITE_REPOSITORY=https://…
#   make test-site   the site in a headless Chromium    SITE_FLAGS='notebooks/02_attention'
#   make pdf         the site as one PDF for each language: build/pdf   PDF_FLAGS='zh --only 02_attention'
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
ASCEND_FLAGS ?=
FOLDER ?=
LESSON ?=
LANGUAGE ?= en
# A desktop may set it too, to all that its user reads: zh_CN:zh:en.
EDITION = $(if $(filter zh%,$(LANGUAGE)),zh,en)
GRADE_FLAGS ?=
PLATFORM ?=
SITE_FLAGS ?=
PDF_FLAGS ?=
SITE_PYTHON ?=

PY := .venv/bin/python
NOTEBOOKS ?=
LESSONS ?= notebooks
# A value as one word of the shell, whatever is in it: a folder may be called «Ada's», or worse.
quote = '$(subst ','\'',$(1))'
# Processes that share the tests, a file each; one needs up to 3 GiB of memory.
WORKERS = -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
# Every cell of every notebook is run, in quick mode, and its output compared with the stored one. The
# notebooks come first: they take minutes each, and what is short fills the gaps at the end.
# The Chinese edition has the same cells and outputs (tests/test_chinese.py), so it is not run again.
NBVAL = --nbval --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg --ignore=notebooks/zh $(LESSONS)
# Lesson 05 takes the real Multi30k where a mirror of it is at hand, else the embedded corpus.
MULTI30K_MIRROR ?= $(abspath $(wildcard ../shared/multi30k))
GOLDEN = PYTHON=$(call quote,$(GOLDEN_PYTHON)) TORCH_PIP_FLAGS=$(call quote,$(TORCH_PIP_FLAGS))
QUICK = STEP_LLM_QUICK=1 STEP_LLM_LANGUAGE=en JUPYTER_PREFER_ENV_PATH=1 MULTI30K_MIRROR=$(call quote,$(MULTI30K_MIRROR))

# Root gets no browser (browsers refuse root, and containers have none), nor does a Linux without a screen.
ROOT_FLAGS = $(shell [ "$$(id -u)" != 0 ] || echo --allow-root --no-browser)
SCREEN_FLAGS = $(shell [ "$$(uname)" != Linux ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || echo --no-browser)

.PHONY: help setup environment my lab kernel notebooks figures bench translate check-device clean
.PHONY: assignment grade bundle test test-lessons test-library test-unit test-oldest test-ascend test-gpu test-golden test-browser test-attack site test-site pdf

help:
	@sed -n 's/^#   //p' Makefile

environment:
	@PYTHON=$(call quote,$(PYTHON)) MINDSPORE=$(call quote,$(MINDSPORE)) tools/setup.sh

# A learner works on a copy that git ignores, so that answers and git pull never meet.
my: environment
	@$(PY) tools/working_copy.py

setup: my
	@echo "The environment .venv is ready: make lab opens the course."

# tools/lab has settings that a learner's own replace: no question about news, and room for the lessons' names.
lab: my
	@echo "Starting JupyterLab. Stop it with Ctrl-C. Without a browser, open the address with ?token= below."
	@JUPYTER_PREFER_ENV_PATH=1 $(PY) -m jupyterlab --port=$(PORT) $(sort $(ROOT_FLAGS) $(SCREEN_FLAGS)) \
		--ServerApp.root_dir=$(call quote,$(CURDIR)) --LabApp.app_settings_dir=tools/lab \
		--LabApp.default_url=/lab/tree/my/$(if $(filter zh,$(EDITION)),zh/)00_start_here.ipynb $(LAB_FLAGS)

# For the user, since another JupyterLab does not look into .venv. It writes into the home folder, so never unasked.
kernel: my
	@$(PY) -m ipykernel install --user --name step_llm --display-name step_llm
	@echo "Now choose it in a lesson: menu Kernel, Change Kernel, step_llm."

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

site:
	@PYTHON=$(call quote,$(SITE_PYTHON)) tools/setup.sh site
	.venv-site/bin/python tools/site.py

test-site: site
	.venv-site/bin/python -m pip install --quiet -r requirements-browser.txt
	.venv-site/bin/python tests/browser/visit_site.py $(SITE_FLAGS)

# A Chromium prints the site's pages.
pdf: site
	.venv-site/bin/python -m pip install --quiet -r requirements-browser.txt
	.venv-site/bin/python tools/pdf.py $(PDF_FLAGS)

# Keep the machine quiet meanwhile: another busy program slows both sides, and not in equal parts.
bench: environment
	@$(GOLDEN) tools/setup.sh golden
	$(PY) benchmarks/speed.py $(BENCH_FLAGS)
	$(if $(BENCH_FLAGS),,$(PY) benchmarks/serve.py)
	$(PY) benchmarks/readme.py

test-unit: environment
	$(PY) -m pytest tests -m 'not slow' $(WORKERS) $(PYTEST_FLAGS)

test-oldest:
	@PYTHON=$(call quote,$(PYTHON39)) tools/setup.sh oldest
	.venv-oldest/bin/python -m pytest tests -m 'not slow' $(WORKERS) $(PYTEST_FLAGS)

# What it shows, and what it cannot: docs/devices.md.
test-ascend: environment
	$(PY) -m tests.ascend.run $(ASCEND_FLAGS)

test-gpu: environment
	$(PY) -m tests.gpu.run $(GPU_FLAGS)

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

# One after another: they time what they kill.
test-attack: environment
	$(PY) -m pytest $(filter-out %/conftest.py,$(wildcard tests/attack/*.py)) $(PYTEST_FLAGS)

# For teachers: docs/teachers.md.
assignment: environment
	@$(PY) tools/assignment.py $(call quote,$(LESSON)) --language $(EDITION)

grade: environment
	@$(PY) tools/grade.py $(call quote,$(FOLDER)) --lesson $(call quote,$(LESSON)) $(GRADE_FLAGS)

# PLATFORM and PYTHON are those of the machines that the archive is for.
bundle:
	@PYTHON= MINDSPORE=$(call quote,$(MINDSPORE)) tools/setup.sh
	@$(PY) tools/bundle.py --platform $(call quote,$(PLATFORM)) --python $(call quote,$(PYTHON))

check-device: environment
	$(PY) -m step_llm check $(CHECK_FLAGS)

translate: environment
	$(PY) -m step_llm demo $(TRANSLATE_FLAGS)

clean:
	rm -rf .venv .venv-oldest .venv-golden .venv-site
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist *.egg-info kernel_meta akg_kernel_meta rank_*
	find . \( -name .git -o -path ./my \) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} +
	@echo "Kept: my/ (your lessons), data/multi30k/ (downloaded), runs/ (trained). Delete them by hand."
