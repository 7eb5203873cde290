# Needs Python >= 3.11, a C++17 compiler and make; everything else goes into .venv.
PYTHON ?= python3
# The CUDA kernels (ON, OFF or AUTO, see CMakeLists.txt) take a minute or two: where there is a GPU.
JAXINTER_CUDA ?= $(if $(wildcard /dev/nvidia0),AUTO,OFF)
BIN := .venv/bin
CXX_SOURCES := $(wildcard csrc/* tests/*.cc tests/*.h tests/cuda_shim/* bench/*.cc)
SOURCES := pyproject.toml CMakeLists.txt $(wildcard csrc/*) $(shell find jaxinter -name '*.py')

.PHONY: demo test bench bench-smoke lint format clean

demo: .venv/demo
	$(BIN)/jaxinter demo

test: .venv/test
	$(BIN)/pytest -q -n auto --maxprocesses 4

bench: .venv/test
	$(BIN)/python bench/bench_transform.py
	$(BIN)/python bench/bench_assemble.py
	$(BIN)/python bench/bench_sparse.py
	$(BIN)/python bench/bench_evaluate.py
	$(BIN)/python bench/bench_statistics.py
	$(BIN)/python bench/bench_nid.py

bench-smoke: .venv/test
	$(BIN)/python bench/bench_transform.py --smoke
	$(BIN)/python bench/bench_assemble.py --smoke
	$(BIN)/python bench/bench_sparse.py --smoke
	$(BIN)/python bench/bench_evaluate.py --smoke
	$(BIN)/python bench/bench_statistics.py --smoke
	$(BIN)/python bench/bench_nid.py --smoke

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)
	$(BIN)/mypy

format: .venv/lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

clean:
	rm -rf .venv build dist

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jaxinter needs Python >= 3.11; set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

# One stamp an extra: the package is built and installed again when a source has changed.
.venv/%: $(SOURCES) | .venv/python
	@echo "installing jaxinter[$*] into .venv (the first time takes a minute or two)"
	$(BIN)/python -m pip install --quiet -Ccmake.define.JAXINTER_CUDA=$(JAXINTER_CUDA) ".[$*]"
	touch $@
