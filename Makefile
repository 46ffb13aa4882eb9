# Each target makes the virtual environment it needs: Python >= 3.11, pip and make are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEVICE ?= cpu

.PHONY: demo test test-all lint bench bench-estimators accuracy clean

demo: $(VENV)/.installed
	$(BIN)/python -m ntkc demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed
	$(BIN)/python -m pytest -m ""

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/run.py --device $(DEVICE)
	$(BIN)/python benchmarks/pixels.py --device $(DEVICE)

# Writes docs/accuracy.md.
accuracy: $(VENV)/.installed
	JAX_PLATFORMS=cpu $(BIN)/python benchmarks/accuracy.py

# FASHION, MNIST: folders of data that the package does not have; see benchmarks/README.md.
bench-estimators: $(VENV)/.installed
	$(BIN)/python benchmarks/estimators.py $(if $(FASHION),--fashion $(FASHION)) $(if $(MNIST),--mnist $(MNIST))

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,lint]"
	touch $@

clean:
	rm -rf $(VENV) .venv-peer ntkc-demo.html
