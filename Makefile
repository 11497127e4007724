# Each target works alone on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A second environment, with a compiled mmcv in place of mmcv-lite, is tested where this names its wheel; there without what
# one environment shows for both (the marker "once").
GFL_MMCV_WHEEL ?=
VENV_COMPILED := .venv-compiled

.PHONY: demo test test-lite test-compiled lint format install clean

demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

test: test-lite $(if $(GFL_MMCV_WHEEL),test-compiled)

test-lite: $(VENV)/.installed
	$(BIN)/python -m pytest

test-compiled: $(VENV_COMPILED)/.installed
	$(VENV_COMPILED)/bin/python -m pytest -m 'not once'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

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
	$(VENV_COMPILED)/bin/python -m pip install --quiet torch==2.13.0
	$(VENV_COMPILED)/bin/python -m pip install --quiet --editable '.[runtime,dev]'
	$(VENV_COMPILED)/bin/python -m pip uninstall --quiet --yes mmcv-lite
	$(VENV_COMPILED)/bin/python -m pip install --quiet --no-deps --force-reinstall $(GFL_MMCV_WHEEL)
	touch $@

clean:
	rm -rf $(VENV) $(VENV_COMPILED) work_dirs build *.egg-info
