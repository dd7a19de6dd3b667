# make test: sets up an environment and passes the tests.   make demo: the whole pipeline.
# make test-slow: what takes longer.   PYTHON chooses the interpreter (3.10 to 3.13).

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
RUNTIME_VENV ?= .venv-tflite-runtime

.PHONY: test test-slow test-runtime lint demo clean

test: lint test-runtime
	$(BIN)/python -m pytest -q -m "not slow" -n 2

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The device half alone, under the other TFLite runtime: it needs numpy < 2, so an environment of
# its own, without TensorFlow.
test-runtime: $(RUNTIME_VENV)/installed
	KERAS_BISENET_RUNTIME=tflite-runtime $(RUNTIME_VENV)/bin/python -m pytest -q -m "not slow"

demo: $(VENV)/installed
	$(BIN)/keras-bisenet demo --out demo

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[train,test]'
	touch $@

$(RUNTIME_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(RUNTIME_VENV)
	$(RUNTIME_VENV)/bin/python -m pip install -q --no-deps -e .
	$(RUNTIME_VENV)/bin/python -m pip install -q "tflite-runtime==2.14.0" "numpy<2" \
		"click>=8.1" "pillow>=10.1" flatbuffers tflite pytest
	touch $@

clean:
	rm -rf $(VENV) $(RUNTIME_VENV) demo
