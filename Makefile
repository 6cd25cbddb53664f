# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := runtime export models edge_app
DEMO ?= .demo
# What `make portability` answers on every CPU, on how many photos, and where its arm64 system lies.
BUNDLE ?= $(DEMO)/bundle
PHOTOS ?= $(DEMO)/photos
LABEL_COLUMN ?= label
IMAGES ?= 200
ARM64 ?= .arm64
MEDIAPIPE ?= .mediapipe

.PHONY: demo test test-slow soak crash lint format types docs bench device portability clean

demo: $(VENV)/.installed  ## the whole path on data that it draws, about two minutes
	$(BIN)/sightline demo --out $(DEMO)

test: $(VENV)/.installed  ## the tests, under ten minutes on two cores
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed  ## crash loops, soaks and other long truths
	$(BIN)/python -m pytest -m slow

crash: $(VENV)/.installed  ## the gallery: 1,000 kills, every disk call failed, 500 power cuts, 15,900 damages; about an hour
	$(BIN)/python -m pytest -m slow -rP tests/runtime/gallery

# The long forms of the soak tests; CI runs short ones with the other tests.
soak: $(VENV)/.installed  ## about an hour and a half: unplugging, an hour at 30 frames a second, ends
	$(BIN)/python benchmarks/soak.py faults --cycles 1000
	$(BIN)/python benchmarks/live_loop.py age --seconds 600
	$(BIN)/python benchmarks/soak.py end
	$(BIN)/python benchmarks/soak.py steady --seconds 3600

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

# Beside what people would use instead, in an environment of their own: MediaPipe brings another OpenCV, so it comes
# without what it depends on; its TFLite files come from benchmarks/mediapipe_files.py, in MEDIAPIPE.
bench: $(VENV)-bench/.installed  ## frames, folders, cold start, memory and look-up beside the peers
	$(VENV)-bench/bin/python benchmarks/pipeline.py $(BUNDLE) $(PHOTOS) --mediapipe $(MEDIAPIPE) \
		--json $(DEMO)/bench.json --plot $(DEMO)/bench.png
	$(VENV)-bench/bin/python benchmarks/lookup.py --json $(DEMO)/lookup.json --plot $(DEMO)/lookup.png

# The device's install, beside the workstation's: no torch, and the demo's bundle answers from it.
device: $(VENV)-device/.installed
	$(VENV)-device/bin/python -c "import importlib.util as u; assert not any(map(u.find_spec, ('torch', 'onnx')))"
	$(VENV)-device/bin/sightline verify $(DEMO)/bundle
	$(VENV)-device/bin/sightline predict $(DEMO)/bundle $(DEMO)/poster.png

# The installed device package answers the same here, as an AVX2-only x86 and as a Cortex-A72. What is not there to
# emulate with is named and skipped: apt install qemu-user-static mmdebstrap; benchmarks/arm64_root.sh .arm64
portability: $(VENV)-device/.installed
	$(VENV)-device/bin/python benchmarks/portability.py $(BUNDLE) $(PHOTOS) --label-column $(LABEL_COLUMN) --images $(IMAGES) \
		--arm64 $(ARM64)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)-bench/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(VENV)-bench/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[export]'
	$(VENV)-bench/bin/python -m pip install --quiet --constraint constraints.txt faiss-cpu ultralytics usearch sqlite-vec apsw
	$(VENV)-bench/bin/python -m pip install --quiet absl-py flatbuffers sounddevice
	$(VENV)-bench/bin/python -m pip install --quiet --no-deps mediapipe
	@touch $@

$(VENV)-device/.installed: pyproject.toml constraints.txt $(wildcard runtime/*.py runtime/*/*.py edge_app/*.py edge_app/*/*.py)
	$(PYTHON) -m venv $(VENV)-device
	rm -rf build
	$(VENV)-device/bin/python -m pip install --quiet --constraint constraints.txt .
	$(VENV)-device/bin/python -m pip install --quiet --no-deps --force-reinstall .
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-device $(VENV)-bench $(DEMO) .types build dist *.egg-info
