# `make demo` and `make test` set up what they need; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-min check format clean

# pip installs exactly what was tested; the stamp is renewed when the lists of packages change
.venv/installed: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: .venv/installed
	$(BIN)/python examples/demo.py

test: .venv/installed
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# the oldest version of everything that pyproject.toml allows
.venv-min/installed: pyproject.toml constraints-min.txt
	test -d .venv-min || $(PYTHON) -m venv .venv-min
	.venv-min/bin/pip install --quiet --disable-pip-version-check --constraint constraints-min.txt --editable ".[dev]"
	touch $@

test-min: .venv-min/installed
	.venv-min/bin/pytest --numprocesses 2 --dist loadfile

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-min build dist *.egg-info runs/demo
