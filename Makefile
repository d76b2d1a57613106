# Every target works on a fresh machine: it installs what it needs first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# a process for each core, each file of tests in one of them: PYTEST_ARGS= for one after the other
PYTEST_ARGS ?= -n auto --dist loadfile
READY := $(VENV)/.ready

.PHONY: setup demo test check notebooks wheel clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)  ## two made-up clips, analysed, with a report for each
	$(BIN)/dfdetect demo --out demo-report

test: $(READY)  ## the test suite, network blocked
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(READY)  ## style, types and the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(READY)  ## run every notebook from top to bottom
	$(BIN)/python scripts/run_notebooks.py notebooks

wheel: $(READY)  ## build the wheel and run it where the source is not
	$(BIN)/python scripts/check_wheel.py

clean:
	rm -rf $(VENV) build dist demo-report .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
