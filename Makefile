# `make demo`: set up and build everything on the built-in sample.  `make ui`: the same in a browser.
# `make test`: set up and run the tests.  `make lint`: ruff and pyright.

PYTHON ?= python3
BIN := .venv/bin
# Every version that was tested is pinned.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

# What Dagster says of its own command: it is the one that every user of it knows.
UNASKED := 'ignore:Function `asset_materialize_command`,ignore:Parameter `include_sources`'

.PHONY: demo ui test lint clean

demo: .venv/.installed
	SID_DEPLOYMENT=demo PYTHONWARNINGS=$(UNASKED) $(BIN)/dagster asset materialize --select '*' -m sid_assets.definitions
	@SID_DEPLOYMENT=demo $(BIN)/python -m sid_assets.show

ui: .venv/.installed
	$(BIN)/dagster dev --host 127.0.0.1

test: .venv/.installed-test lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/.installed-test: .venv/.installed
	$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv .dagster
