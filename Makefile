# `make` lists the targets. Everything runs in .venv, which `make setup` creates.
PYTHON_IN_VENV := .venv/bin/python
OPENMMLAB_TESTS ?= $(addprefix tests/test_,utils models checkpoint datasets evaluation engine)

.DEFAULT_GOAL := help
.PHONY: help setup setup-ops demo report transfer-demo test test-slow test-openmmlab lint format docs doctor lock clean clean-env

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: ## create .venv for pre-training; no compiling, no-op if up to date
	@tools/setup_env.sh

setup-ops: ## add detection and segmentation; compiles mmcv's ops once
	@tools/setup_env.sh ops

demo: setup ## pre-train on toy scenes in a few minutes, GPU or CPU
	$(PYTHON_IN_VENV) tools/demo.py

report: setup ## write a page about the demo run: curves, scores, pictures
	@test -d work_dirs/demo || { echo 'error: no demo run yet; start one with make demo (a few minutes)' >&2; exit 1; }
	$(PYTHON_IN_VENV) tools/report.py --draw work_dirs/demo

transfer-demo: setup-ops ## train detection and segmentation on toy scenes, from scratch and from RePre
	$(PYTHON_IN_VENV) tools/transfer_demo.py

test: setup-ops ## run the quick tests on all cores
	$(PYTHON_IN_VENV) -m pytest -n auto --dist worksteal

test-slow: setup-ops ## run all tests, one after another
	$(PYTHON_IN_VENV) -m pytest -m ''

test-openmmlab: ## run the quick tests of the stack with OpenMMLab's originals, in .venv-openmmlab
	@FAMILY=openmmlab tools/setup_env.sh
	.venv-openmmlab/bin/python -m pytest -n auto --dist worksteal -m 'not slow and not dist' $(OPENMMLAB_TESTS)

lint: setup ## check style and import contracts, change nothing
	$(PYTHON_IN_VENV) -m ruff check
	$(PYTHON_IN_VENV) -m ruff format --check
	.venv/bin/lint-imports

format: setup ## fix what the linter can fix
	$(PYTHON_IN_VENV) -m ruff check --fix
	$(PYTHON_IN_VENV) -m ruff format

docs: setup ## build the documentation site: site/index.html
	NO_MKDOCS_2_WARNING=1 .venv/bin/uv run --no-project --isolated --quiet --with-requirements docs/requirements.lock mkdocs build

doctor: setup ## check the installation and print fixes
	$(PYTHON_IN_VENV) -m repre_mm.doctor

lock: setup ## update the locks from pyproject.toml
	tools/renew_lock.sh

clean: ## remove caches and build files, keep .venv and runs
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache
	find repre_mm tests tools configs -name __pycache__ -type d -exec rm -rf {} +

clean-env: ## remove .venv and .venv-openmmlab; make setup creates them anew
	rm -rf .venv .venv-openmmlab
