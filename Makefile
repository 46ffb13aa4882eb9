# Each target makes the virtual environment it needs: Python >= 3.11, pip and make are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEVICE ?= cpu

.PHONY: demo test test-all test-peer lint bench bench-estimators accuracy clean

demo: $(VENV)/.installed
	$(BIN)/python -m ntkc demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed
	$(BIN)/python -m pytest -m ""

# PEER: a checkout of github.com/google/neural-tangents, v0.6.5, whose tests then run on ntkc.
PEER_VENV ?= .venv-test-peer
test-peer: $(PEER_VENV)/.installed
	$(PEER_VENV)/bin/python tests/peer/run_peer.py $(PEER)

$(PEER_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEER_VENV)
	$(PEER_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test,networks]" absl-py more-itertools
	touch $@

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/run.py --device $(DEVICE)
	$(BIN)/python benchmarks/pixels.py --device $(DEVICE)
	$(BIN)/python benchmarks/first_call.py --device $(DEVICE)

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
	rm -rf $(VENV) $(PEER_VENV) .venv-peer ntkc-demo.html
