# Each target works alone on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The wheel of a compiled mmcv. Where it is named, what can depend on mmcv's compiled ops is tested with them, too, in a
# second environment; tests with the marker "once" cannot.
GFL_MMCV_WHEEL ?=
VENV_COMPILED := .venv-compiled
BIN_COMPILED := $(VENV_COMPILED)/bin
# Processes that run tests: a number, or auto, one per CPU. A test file stays in one process.
TEST_WORKERS ?= auto
PYTEST := -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
# Sizes of `make test-slow`: how many times the cases of `make test`, and the cases of each kind of attack.
SLOW_SCALE ?= 8
SLOW_ATTACKS ?= 8

.PHONY: demo test test-lite test-compiled test-slow lint format install clean

demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

# One environment after the other, never both at once.
test: test-lite $(if $(GFL_MMCV_WHEEL),test-compiled)

test-lite: $(VENV)/.installed
	$(BIN)/python $(PYTEST)

test-compiled: $(VENV_COMPILED)/.installed $(if $(filter test,$(MAKECMDGOALS)),test-lite)
	$(BIN_COMPILED)/python $(PYTEST) -m 'not once and not slow'

# Many random cases, long trainings, trainings that are killed, attacks.
test-slow: $(VENV)/.installed
	GFL_TEST_SCALE=$(SLOW_SCALE) GFL_ATTACK_CASES=$(SLOW_ATTACKS) $(BIN)/python $(PYTEST) -m 'slow or scaled'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed

# torch goes first and alone: the rest accepts what it finds.
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
	rm -rf $(VENV) $(VENV_COMPILED) work_dirs build *.egg-info
