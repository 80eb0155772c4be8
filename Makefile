# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TESTS := .venv/.tests-installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: docs demo test lint install theorems calculator proofs clean

demo: $(STAMP)
	$(BIN)/bstheory check --report reports/check

# One thread a process: the suite's arrays are small, and numbers do not depend on the machine's cores.
test: $(TESTS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile

lint: $(TESTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv: some minutes the first time, nothing later."
	$(INSTALL) torch
	$(INSTALL) --editable .
	touch $(STAMP)

$(TESTS): $(STAMP)
	@echo "Installing what the tests need into .venv."
	$(INSTALL) --editable '.[test]'
	touch $(TESTS)

theorems: $(STAMP)
	$(BIN)/python -m bstheory.reports.pages docs

calculator: $(STAMP)
	$(BIN)/python -m bstheory.reports.calculator docs/calculator/index.html

docs: $(STAMP)
	$(INSTALL) --editable '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W -E --keep-going -b html docs docs/_build/html

proofs:
	bash docs/proofs/build.sh

clean:
	rm -rf .venv reports runs
