# make help            what each target does
# make demo            set up, and build everything from the built-in sample
# make ui              set up, and open the graph in a browser; PORT=3001 takes another port
# make test            set up, lint, and run all tests but those of services
# make test-service    set up, and run the tests that start servers of their own, one after another
# make lint            ruff, codespell and pyright
# make format          format, and fix what ruff can fix
# make hooks           run the linters before every commit and push
# make docs            build the documentation into site/
# make docs-generated  update the parts of the documentation that come from the code
# make wheel-test      build the wheel, and try it in a new environment
# make clean           remove everything that these targets installed or built

PYTHON ?= python3
PORT ?= 3000
BIN := .venv/bin
# Versions are pinned to those that were tested.
PIP := $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: demo ui test test-service lint clean docs docs-generated wheel-test

demo: .venv/.installed
	@$(BIN)/sid-assets demo

ui: .venv/.installed
	DAGSTER_HOME="$${DAGSTER_HOME:-$(CURDIR)}" $(BIN)/dagster dev --host 127.0.0.1 --port $(PORT)

.PHONY: format help hooks

help:
	@sed -n 's/^# \(make [a-z-]* .*\)/\1/p' Makefile

format: .venv/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

hooks: .venv/.installed-test
	$(BIN)/pre-commit install

# A process for each core, and a thread for each process: more threads than cores wait for each other.
# Files go to processes by name: by their number of tests, those with few but long ones come last.
test: .venv/.installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not service" --numprocesses auto --dist loadfile \
		--no-loadscope-reorder

# PostgreSQL is needed: on Debian, `apt-get install postgresql`. Tests of one file share servers.
test-service: .venv/.installed-test
	$(BIN)/python -m pytest -m service --numprocesses 2 --dist loadfile

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/.installed-test
	$(BIN)/mkdocs build --strict --quiet

docs-generated: .venv/.installed-test
	$(BIN)/python -m tools.write_docs
	$(BIN)/python -m tools.file_map

wheel-test: .venv/.installed-test
	PYTHON=$(BIN)/python .ci/wheel-test

.venv/.installed: pyproject.toml constraints.txt
	@echo "Installing into .venv. On Linux, pip downloads 3 GB, most of it for CUDA, and 0.5 GB with"
	@echo "the CPU build of torch (README.md says how); on macOS 0.5 GB. After the downloads, pip"
	@echo "unpacks without showing progress, which takes some minutes on a slow disk."
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/.installed-test: .venv/.installed
	$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv .dagster build site
