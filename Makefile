# What README and CI call. Each target sets up .venv by itself: Python 3.11 or later and make are all that is needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint types bench clean

demo: $(READY)
	rm -rf demo
	$(BIN)/facectl demo --out demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# The figures in README; docs/benchmarks.md says where the photographs come from.
bench: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow
	$(BIN)/python benchmarks/exports.py
	$(BIN)/python benchmarks/core_ml.py
	$(BIN)/python benchmarks/core_ml_ops.py
	$(BIN)/python benchmarks/backbones.py
	$(BIN)/python benchmarks/shapes.py
	$(BIN)/python benchmarks/lfw10.py
	$(BIN)/python benchmarks/twins.py
	$(BIN)/python benchmarks/age.py
	$(BIN)/python benchmarks/pair.py
	$(BIN)/python benchmarks/lfw_view2.py --tflite
	$(BIN)/python benchmarks/lfw_peers.py
	$(BIN)/python benchmarks/triplets.py
	$(BIN)/python benchmarks/open_set.py
	$(BIN)/python benchmarks/unknown.py
	$(BIN)/python benchmarks/identify.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/near_duplicates.py
	$(BIN)/python benchmarks/straddling.py
	$(BIN)/python benchmarks/check_speed.py
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/folder.py
	$(BIN)/python benchmarks/video.py
	$(BIN)/python benchmarks/live.py
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/raspberry_pi.py
	$(BIN)/python benchmarks/install_size.py
	$(BIN)/python benchmarks/mediapipe_agrees.py

# Bytecode is compiled here and now, so that the first command is as quick as the hundredth.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,camera,export,dev]'
	-$(BIN)/python -m compileall -q -j 0 .venv/lib runtime trainer export
	touch $(READY)

clean:
	rm -rf .venv demo
