# make demo, make test and make lint work on a fresh machine with Python >= 3.11 and g++.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
SITE := $(VENV)/.site
SOURCES := $(shell find csrc -type f 2>/dev/null)

PIP := $(BIN)/pip install --quiet $(PIP_FLAGS)

.PHONY: setup demo test lint check-cuda check-wheel sanitize gpu-check bench growth results results-full screenshots docs docs-links clean

setup: $(READY)

# Torch comes first and by its own pin: any other way of asking may fetch another build of it.
$(READY): pyproject.toml setup.py $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) torch==2.13.0
	$(PIP) "setuptools>=77" ninja
	$(PIP) --no-build-isolation -e ".[dev]"
	touch $(READY)

demo: setup
	$(BIN)/lvlm-va demo --out demo

# A process for each core, each with one thread: two that took all cores would stand in each other's way.
JOBS ?= 2

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_docstrings.py
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[bq]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format --default-filetype yaml CITATION.cff

check-cuda: setup
	$(BIN)/python tools/check_cuda.py

check-wheel: setup
	$(BIN)/python tools/check_wheel.py

# Arguments for pytest: SANITIZE='-k fuzzing' tries only that.
sanitize: setup
	$(BIN)/python tools/sanitize.py $(SANITIZE)

# Ten minutes at most; what it finds stands in build/gpu_check.json. GPU_CHECK=--rehearse needs no GPU.
gpu-check:
	$(PYTHON) -m tools.gpu_check $(GPU_CHECK)

$(PEERS): $(READY)
	$(PIP) --no-build-isolation -e ".[bench]"
	touch $(PEERS)

# LVLM_VA_MNIST=<folder of the idx files> runs the whole method on MNIST, not on scikit-learn's digits. A run that was
# cut off is gone on with.
bench: $(PEERS)
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-quiet -q \
		--latest benchmarks/latest.json --benchmark-json benchmarks/details.json

# The page of results, from experiments in their small settings.
RUNS ?= runs/quick
COMPARISONS := lambda sampling segmenters verdicts critiques components rounds

results: setup
	test -f $(RUNS)/main/metrics.json || $(BIN)/lvlm-va experiment main --quick --seeds 3 --out $(RUNS)/main
	for name in $(COMPARISONS); do test -f $(RUNS)/$$name/metrics.json || $(BIN)/lvlm-va experiment $$name --quick --seeds 3 \
		--data-set decoy-digits --out $(RUNS)/$$name || exit 1; done
	$(BIN)/python -m lvlm_va.experiments.results_page $(RUNS) docs/background/results.md

# The main comparison in its full settings: one and a half hours on two cores. Debian's dataset-fashion-mnist has the files.
FASHION ?= /usr/share/datasets/fashion-mnist
results-full: setup
	$(BIN)/lvlm-va experiment main --seeds 7 --fashion-dir $(FASHION) --data-set tagged-radiographs \
		--data-set bandaged-lesions --data-set decoy-fashion-mnist --method lvlm_va_propagated \
		--method lvlm_va_propagated_70 --method ground_truth_rrr --method counterexamples --out runs/full/main
	$(BIN)/python -m lvlm_va.experiments.results_page runs/full docs/background/results_full.md

# The pictures in docs/images; needs Debian's chromium and chromium-driver.
screenshots: setup
	$(BIN)/python -m tools.question_picture
	$(BIN)/python -m tools.screenshots

$(SITE): $(READY)
	$(BIN)/pip install --quiet --no-build-isolation -e ".[docs]"
	touch $(SITE)

# The site, in docs/_build/html: tutorials run, warnings are errors. Then the links to other sites, which need a network.
docs: $(SITE)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -W --keep-going docs docs/_build/html

docs-links: $(SITE)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b linkcheck -D plot_gallery=0 -W --keep-going docs docs/_build/links

growth: $(PEERS)
	$(BIN)/python -m benchmarks.growth

clean:
	rm -rf $(VENV) build demo docs/_build docs/gallery docs/reference/generated *.egg-info lvlm_va/*.so
