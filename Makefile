# Everything a developer needs; a Python of at least 3.11 and make are all that must be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# More than the two cores that we count on: tests of the cloud wait while their containers compute.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Bytecode is compiled as it is used, a tenth of what is installed. One pip command names torch's version beside all that needs it: an open range pulls several GB.
TEST_NEEDS := torch==2.13.0 -e ".[local]" --group test
# The engine alone, on the older stack that the deployment offers too.
CUDA121_NEEDS := torch==2.4.1 transformers==4.49.0 numpy==1.26.4 ftfy safetensors pillow scikit-image hypothesis pytest -e .

.PHONY: demo test test-fast test-long test-pins test-cuda121 lint types check bench clean

demo: $(VENV)/.demo
	$(BIN)/multitalk demo --force

test: $(VENV)/.test
	$(PYTEST)

# Without the control plane, shells and slow files; as many workers as cores, since nothing waits.
test-fast: $(VENV)/.test
	$(PYTEST) -n 2 -m "not (gpu or e2e or bench or pins or long or cloud or shell or slow)"

# What takes minutes, and properties with more examples than make test has.
test-long: $(VENV)/.test
	$(PYTEST) --hypothesis-profile=long -m "long or hypothesis"

# When remote/deployment/pins.py or pyproject.toml changed, and before a release.
test-pins: $(VENV)/.test
	$(BIN)/python -m pytest -m pins

test-cuda121: .venv-cuda121/.test
	.venv-cuda121/bin/python -m pytest tests/engine -W default

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

check: lint types test

bench: $(VENV)/.test
	$(BIN)/python -m pytest tests/bench -m bench -s

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile $(TEST_NEEDS)
	touch $@ $(VENV)/.demo

.venv-cuda121/.test: Makefile
	$(PYTHON) -m venv .venv-cuda121
	.venv-cuda121/bin/python -m pip install --quiet $(CUDA121_NEEDS)
	touch $@

clean:
	rm -rf $(VENV) .venv-cuda121 build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
