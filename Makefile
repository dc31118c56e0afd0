# make demo | test | test-all | test-parity | lint | docs | notebooks | clean    PYTHON=python3.12 chooses the interpreter, VENV=... where the packages go
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
# A file stays in one process, so that its fixtures and compiled programs are made once; in the order of tests/conftest.py.
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder

INSTALLED := $(VENV)/.installed
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-parity lint docs notebooks clean

help:
	@echo 'make demo   train the built-in task from nothing and show what changed (configs/quickstart.yaml)'
	@echo 'make test   run the quick tests in $(JOBS) processes (JOBS=4 for more)'
	@echo 'make test-all   run every test: runs that are killed, several processes, compiling for TPUs'
	@echo 'make test-parity   compare the policy with transformers in torch, live'
	@echo 'make lint   ruff and pyright'
	@echo 'make docs   build the documentation into build/site, every internal link checked'
	@echo 'make notebooks  write notebooks/*.ipynb from their .py files, and run the one that is shown with its figures'
	@echo 'make clean  remove caches; runs/ and $(VENV)/ stay'

# Begins where there is nothing yet, goes on with what was stopped, and shows what is finished.
demo: $(INSTALLED)
	$(BIN)/jaxreason train configs/quickstart.yaml

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL) -m 'not (slow or tpu_aot or torch)'

test-all: $(INSTALLED) $(VENV)/.libtpu
	PYTHONPATH=$(abspath $(VENV)/libtpu) $(BIN)/python -m pytest $(PARALLEL) --durations=40

test-parity: $(VENV)/.torch
	$(BIN)/python -m pytest $(PARALLEL) -m torch tests/parity

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Strict: a broken link or anchor, or a page that nav does not name, is an error. Nothing is fetched.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

notebooks: $(INSTALLED)
	$(BIN)/jupytext --update --to ipynb notebooks/*.py
	JAX_PLATFORMS=cpu $(BIN)/jupyter execute --inplace notebooks/reward_inspection.ipynb

clean:
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist
	find jaxreason tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# uv takes a tenth of pip's time; where it can't be had, or can't reach what pip is configured for, pip does it all.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_OR_UV := sh -c '$(BIN)/uv pip install --quiet --python $(BIN)/python "$$@" || $(PIP) "$$@"' install

# One environment for everything; the stamp makes a second call quick and a changed lock or pyproject install again.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is older than 3.11 or not there; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module; try: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	-$(PIP) uv
	$(PIP_OR_UV) -r requirements.lock
	$(PIP_OR_UV) --no-deps --no-build-isolation -e .
	@touch $@

# The TPU compiler, with which tests compile for TPUs that are not here; it exists for x86-64 Linux only. In a folder of
# its own: among the packages, JAX would look for a TPU at each start and complain that there is none.
$(VENV)/.libtpu: $(INSTALLED)
ifeq ($(shell uname -sm),Linux x86_64)
	$(PIP) --no-deps --upgrade --target $(VENV)/libtpu libtpu==0.0.42.1
endif
	@touch $@

# For Linux PyPI's torch brings gigabytes of CUDA; the +cpu build of PyTorch's own index is 200 MB and never that one.
TORCH := torch==2.13.0$(if $(filter Linux,$(shell uname -s)),+cpu)

$(VENV)/.torch: $(INSTALLED)
	$(PIP) --no-deps --extra-index-url https://download.pytorch.org/whl/cpu '$(TORCH)'
	$(PIP) '$(TORCH)'
	@touch $@
