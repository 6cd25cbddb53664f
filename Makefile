# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := runtime export models edge_app
DEMO ?= .demo

.PHONY: demo test test-slow lint format types docs device clean

demo: $(VENV)/.installed  ## the whole path on data that it draws, about two minutes
	$(BIN)/sightline demo --out $(DEMO)

test: $(VENV)/.installed  ## the tests, under ten minutes on two cores
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed  ## crash loops, soaks and other long truths
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# mypy does not follow setuptools' package-dir, so the rooms are linked below one folder for it.
types: $(VENV)/.installed
	@mkdir -p .types/sightline
	@for room in $(ROOMS); do ln -sfn ../../$$room .types/sightline/$$room; done
	$(BIN)/mypy $(foreach room,$(ROOMS),-p sightline.$(room))

docs: $(VENV)/.installed  ## the command reference, from --help
	$(BIN)/python -m sightline.edge_app.reference > docs/commands.md

# The device's install, beside the workstation's: no torch, and the demo's bundle answers from it.
device: $(VENV)-device/.installed
	$(VENV)-device/bin/python -c "import importlib.util as u; assert not any(map(u.find_spec, ('torch', 'onnx')))"
	$(VENV)-device/bin/sightline verify $(DEMO)/bundle
	$(VENV)-device/bin/sightline predict $(DEMO)/bundle $(DEMO)/poster.png

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)-device/.installed: pyproject.toml constraints.txt $(wildcard runtime/*.py runtime/*/*.py edge_app/*.py edge_app/*/*.py)
	$(PYTHON) -m venv $(VENV)-device
	rm -rf build
	$(VENV)-device/bin/python -m pip install --quiet --constraint constraints.txt .
	$(VENV)-device/bin/python -m pip install --quiet --no-deps --force-reinstall .
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-device $(DEMO) .types build dist *.egg-info
