# make test: sets up an environment and passes the tests.   make demo: the whole pipeline.
# make wheel: what to install elsewhere, in dist/.   make web: LiteRT.js, for `keras-bisenet web`.
# make test-slow: what takes longer.   make test-lowest: on the lowest versions that are allowed.
# PYTHON chooses the interpreter (3.10 to 3.13), PYTHON_OLDEST and PYTHON_OLDEST_DEVICE the oldest
# that the training half and the device half allow.

PYTHON ?= python3.11
PYTHON_OLDEST ?= python3.10
PYTHON_OLDEST_DEVICE ?= python3.9
VENV ?= .venv
BIN := $(VENV)/bin
RUNTIME_VENV ?= .venv-tflite-runtime
LOWEST_VENV ?= .venv-lowest
LOWEST_DEVICE_VENV ?= .venv-lowest-device

.PHONY: test test-slow test-runtime test-lowest lint demo web web-if-it-can-be wheel android clean

# While one environment is filled and lint runs, the device half is tested in the other; then the rest.
test:
	@$(MAKE) --no-print-directory -j 2 lint test-runtime web-if-it-can-be
	$(BIN)/python -m pytest -q -m "not slow" -n 2

# Without LiteRT.js the page's tests skip, saying why.
web-if-it-can-be: $(VENV)/installed
	-@$(MAKE) --no-print-directory web

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The device half alone, under the other TFLite runtime: it needs numpy < 2, so an environment of
# its own, without TensorFlow; the package itself is read from the checkout.
test-runtime: $(RUNTIME_VENV)/installed
	KERAS_BISENET_RUNTIME=tflite-runtime $(RUNTIME_VENV)/bin/python -m pytest -q -m "not slow" \
		tests/device

# uv resolves to the lowest versions that pyproject.toml allows, which pip cannot.
test-lowest: $(LOWEST_VENV)/installed $(LOWEST_DEVICE_VENV)/installed
	$(LOWEST_DEVICE_VENV)/bin/python -m pytest -q -m "not slow" tests/device
	$(LOWEST_VENV)/bin/python -m pytest -q -m "not slow" -n 2

demo: $(VENV)/installed
	$(BIN)/keras-bisenet demo --out demo

# LiteRT.js into the package, for `keras-bisenet web`, and what the page's tests need.
web: keras_bisenet/web/vendor/core/package.json

keras_bisenet/web/vendor/core/package.json: web_demo/package-lock.json $(VENV)/installed
	npm ci --prefix web_demo --no-fund --no-audit
	$(BIN)/python -m keras_bisenet.web.litert_js web_demo/node_modules/@litertjs
	touch $@

# What is small enough for a Pi; after `make web` also LiteRT.js, 10 MB packed.
wheel: $(VENV)/installed
	$(BIN)/python -m pip wheel -q --no-deps -w dist . ./weights
	@ls -l dist/*.whl

# The Android app with Maven Central alone: APKs, tests, checks. It needs JDK 17, Maven and GCC.
android: $(VENV)/installed
	$(BIN)/python android_demo/ci/build.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[train,test,video]'
	touch $@

$(RUNTIME_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(RUNTIME_VENV)
	$(RUNTIME_VENV)/bin/python -m pip install -q "tflite-runtime==2.14.0" "numpy<2" \
		"click>=8.1" "pillow>=10.1" flatbuffers tflite pytest
	touch $@

$(LOWEST_VENV)/installed: pyproject.toml
	$(PYTHON_OLDEST) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python -m pip install -q uv
	VIRTUAL_ENV=$(LOWEST_VENV) $(LOWEST_VENV)/bin/uv pip install -q --resolution lowest-direct \
		-e '.[train,test,video]'
	touch $@

$(LOWEST_DEVICE_VENV)/installed: pyproject.toml
	$(PYTHON_OLDEST_DEVICE) -m venv $(LOWEST_DEVICE_VENV)
	$(LOWEST_DEVICE_VENV)/bin/python -m pip install -q uv
	VIRTUAL_ENV=$(LOWEST_DEVICE_VENV) $(LOWEST_DEVICE_VENV)/bin/uv pip install -q \
		--resolution lowest-direct -e . 'pytest>=8'
	touch $@

clean:
	rm -rf $(VENV) $(RUNTIME_VENV) $(LOWEST_VENV) $(LOWEST_DEVICE_VENV) demo dist build \
		web_demo/node_modules keras_bisenet/web/vendor
