# Each target works on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The wheel of a compiled mmcv. If it is set, the tests run again with mmcv's compiled ops in a second environment, except
# for tests with the marker "once", which do not depend on these ops.
GFL_MMCV_WHEEL ?=
VENV_COMPILED := .venv-compiled
BIN_COMPILED := $(VENV_COMPILED)/bin
# Number of test processes, or auto for one per CPU. All tests of a file run in the same process.
TEST_WORKERS ?= auto
PYTEST := -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
# Sizes of `make test-slow`: factor for the number of cases of `make test`, and number of cases per kind of attack.
SLOW_SCALE ?= 3
SLOW_ATTACKS ?= 3

.PHONY: demo test test-lite test-compiled test-slow lint format docs install clean

demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

# The two environments are tested one after the other.
test: test-lite $(if $(GFL_MMCV_WHEEL),test-compiled)

test-lite: $(VENV)/.installed
	$(BIN)/python $(PYTEST)

test-compiled: $(VENV_COMPILED)/.installed $(if $(filter test,$(MAKECMDGOALS)),test-lite)
	$(BIN_COMPILED)/python $(PYTEST) -m 'not once and not slow'

# Many random cases, long trainings, killed trainings, attacks.
test-slow: $(VENV)/.installed
	GFL_TEST_SCALE=$(SLOW_SCALE) GFL_ATTACK_CASES=$(SLOW_ATTACKS) $(BIN)/python $(PYTEST) -m 'slow or scaled'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation site; open build/site/index.html. Broken links, anchors and references are errors.
docs: $(VENV)/.installed
	$(BIN)/zensical build --clean --strict

install: $(VENV)/.installed

# torch is installed first; the other packages accept the installed version.
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[runtime,dev]'
	touch $@

$(VENV_COMPILED)/.installed: setup.py $(GFL_MMCV_WHEEL)
	$(PYTHON) -m venv $(VENV_COMPILED)
	$(BIN_COMPILED)/python -m pip install --quiet torch==2.13.0
	$(BIN_COMPILED)/python -m pip install --quiet --editable '.[runtime,dev]'
	$(BIN_COMPILED)/python -m pip uninstall --quiet --yes mmcv-lite
	$(BIN_COMPILED)/python -m pip install --quiet --no-deps --force-reinstall $(GFL_MMCV_WHEEL)
	touch $@

clean:
	rm -rf $(VENV) $(VENV_COMPILED) work_dirs build .cache *.egg-info
