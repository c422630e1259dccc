# Two commands do it all from a clean clone: `make demo` and `make test`. They need Python >= 3.11, make and a C
# compiler (hnswlib ships as source). Everything is installed into .venv; a second run uses what the first made.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: demo test lint bench bench-quality torture clean

demo: .venv/.demo
	$(BIN)/save demo

test: .venv/.test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/import_linter

bench: .venv/.test
	$(BIN)/python benchmarks/run.py

bench-quality: .venv/.test
	$(BIN)/python benchmarks/run.py --only mini --only quality

torture: .venv/.test
	$(BIN)/python benchmarks/torture.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "save needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml
	@echo "installing into .venv: about 3 GB are fetched, most of it torch"
	$(PIP) --editable '.[demo,hnswlib]'
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml
	@echo "installing into .venv: about 3 GB are fetched, most of it torch"
	$(PIP) --editable '.[demo,hnswlib,whisper,dev]'
	$(PIP) --no-deps imagebind-unofficial==0.1.1  # its own list asks for a torchaudio that fits no torch of today
	@touch $@

clean:
	rm -rf .venv .cache dist
