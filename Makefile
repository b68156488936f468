# Everything from a bare Debian machine: `make demo` runs the main job, `make test` the tests.
# VENV, PYTHON and CUDA can be set: make demo VENV=/tmp/env PYTHON=python3.12 CUDA=1
VENV ?= .venv
PYTHON ?= python3
CUDA ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo 1)
BIN := $(VENV)/bin
READY := $(VENV)/.ready$(if $(CUDA),-cuda)

.PHONY: demo test lint benchmark system clean
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/python -m recon run

test: $(READY) lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmark: $(READY)
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

# Open3D loads libusb and libgomp at import, OpenMP threads need libgomp; a virtual environment
# needs ensurepip. Each is installed only where it is missing and only where apt exists.
system:
	@./.ci/system-packages $(PYTHON)

$(VENV)/bin/python: | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Without a GPU the CPU build of torch: a fifth of the download. A plain `pip install torch` on
# Linux brings the CUDA build, so the CPU build is named; the second line is its official index.
$(READY): pyproject.toml | $(VENV)/bin/python
ifeq ($(CUDA),)
	$(BIN)/python -m pip install --quiet 'torch==2.13.0+cpu' 2>/dev/null \
	|| $(BIN)/python -m pip install --quiet torch --index-url https://download.pytorch.org/whl/cpu
	$(BIN)/python -m pip install --quiet -e '.[test]'
else
	$(BIN)/python -m pip install --quiet -e '.[test,cuda]'
endif
	touch $@

clean:
	rm -rf $(VENV) outputs build *.egg-info
