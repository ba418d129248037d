# brain_edge. Needs Python >= 3.11 with pip and venv, make, and nothing else: every target sets itself up in .venv.
#
#   make demo     a correct brain mask of a real head, and what it cost
#   make test     the tests that CI runs
#
# Variables, each as `make demo NAME=value`:
#   PYTHON           the Python that .venv is made with                                     [python3]
#   TORCH_INDEX      an extra package index for PyTorch alone. On Linux the usual index offers the CUDA build of
#                    torch (gigabytes, of no use here); the CPU build is `2.13.0+cpu` at
#                    the address that PyTorch's own install page gives for pip, Linux, CPU.
#                    pip prefers it to a plain 2.13.0, and the pin torch==2.13.0 accepts it.   [unset]
#   BRAIN_EDGE_DATA  the folder of real heads and weights for the tests; tests that need it skip, with the
#                    reason, where it is empty                         [../shared/data, if there is such a folder]

PYTHON ?= python3
export TORCH_INDEX ?=

ifeq ($(origin BRAIN_EDGE_DATA),undefined)
BRAIN_EDGE_DATA := $(if $(wildcard ../shared/data/.),$(CURDIR)/../shared/data)
endif
ifneq ($(BRAIN_EDGE_DATA),)
export BRAIN_EDGE_DATA
else
unexport BRAIN_EDGE_DATA
endif

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install -c constraints.txt
PYTEST := $(BIN)/python -m pytest
# tests start hundreds of programs; without kept bytecode each compiles the package anew, half a second
export PYTHONDONTWRITEBYTECODE :=
# two processes: half of the tests keep one core busy; the tests of a file share what is costly to make, so stay together
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
# a third one fills what the others leave when they wait for programs: a tenth of the time of two cores
PACKED := -n 3 --dist loadfile --no-loadscope-reorder
# options of the matrix, each as `make bench NAME=value`: REPETITION (once more: five give a figure its range), MINUTES
# (start no cell after these; the next call goes on), PACKAGES (a folder of ready packages MODEL-fp32 and MODEL-int8)
MATRIX := $(BIN)/python -m benchmarks matrix $(if $(REPETITION),--repetition $(REPETITION)) \
    $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PACKAGES),--packages $(PACKAGES))
# tests that bound memory, file sizes and imports of a program, to which tracing adds
UNTRACED := tests/test_hunt.py::test_who_is_short_of_something_is_told_in_one_sentence tests/cli/test_cli_memory.py \
    tests/cli/test_start.py
# options of the hunt: KEEP=1 writes what came of it into tests/hunt/results.jsonl and docs/reference/hunt.md
HUNTED := $(if $(SEED),--seed $(SEED)) $(if $(KEEP),--keep)
# pyproject.toml switches pytest-benchmark off for the tests; the benchmarks switch it on again
BENCHMARKS := $(PYTEST) -p benchmark -o python_files='test_*.py bench_*.py' benchmarks

# A stamp for each set of extras that is installed: remade when what should be installed has changed.
FOR_USE := .venv/.installed-convert,report
FOR_DEVELOPMENT := .venv/.installed-convert,report,dicom,register,parquet,dask,store,dev
FOR_THE_SITE := .venv/.installed-docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-runs test-wheel coverage mutants fuzz venv lint types bench bench-full bench-suite bench-once scale doors docs site wheel clean

help: ## this list
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(FOR_USE) ## convert, quantise and run a real skull-stripper; results in demo/
	$(BIN)/brain-edge demo -o demo

test: $(FOR_DEVELOPMENT) ## the tests that CI runs
	$(PYTEST) $(PACKED) -m "not full and not wheel"

test-all: $(FOR_DEVELOPMENT) ## every test: also HD-BET v1 (downloads 294 MB), peers, and the wheel
	BRAIN_EDGE_EXAMPLES=200 $(PYTEST) $(SIDE_BY_SIDE)

test-runs: $(FOR_DEVELOPMENT) ## `make test` as it is and under each limit of the instruction set, kept: LIMIT=AVX2, TARGET=test-all
	cd tests && PYTHONPATH=.. ../$(BIN)/python -m recorded $(if $(LIMIT),--limit $(LIMIT)) $(if $(TARGET),--target $(TARGET))

coverage: $(FOR_DEVELOPMENT) ## the tests that CI runs, and the lines that none of them reaches; fails below the floor
	$(PYTEST) $(SIDE_BY_SIDE) -m "not full and not wheel" --cov --cov-report=term-missing:skip-covered \
	    $(UNTRACED:%=--deselect=%)

mutants: $(FOR_DEVELOPMENT) ## deliberate faults, those without a result: does a test notice? AREA=budget for one table
	cd tests && ../$(BIN)/python -m mutants $(AREA)

fuzz: $(FOR_DEVELOPMENT) ## hunt for faults: READER=images (else all), MINUTES=60, SEED=7; faults in .hunt/faults
	cd tests && ../$(BIN)/python -m hunt fuzz $(HUNTED) $(if $(READER),--reader $(READER)) $(if $(MINUTES),--minutes $(MINUTES))
	$(if $(READER),,cd tests && ../$(BIN)/python -m hunt kill $(HUNTED) && ../$(BIN)/python -m hunt starve $(HUNTED))

test-wheel: $(FOR_DEVELOPMENT) ## the built wheel in clean environments: thin, and with the extras
	$(PYTEST) $(SIDE_BY_SIDE) -m wheel tests/wheel

venv: $(FOR_DEVELOPMENT) ## install for development into .venv

lint: $(FOR_DEVELOPMENT) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(FOR_DEVELOPMENT) ## mypy: strict, and the bodies of the tests
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini

bench: $(FOR_DEVELOPMENT) ## the quick suite of benchmarks/matrix.toml, what is recorded left out, and .benchmarks/report
	$(MATRIX) --suite quick
	$(BIN)/python -m benchmarks report benchmarks/results -o .benchmarks/report --overwrite

bench-full: $(FOR_DEVELOPMENT) ## the whole matrix, cell by cell; what is recorded is left out
	$(MATRIX) --suite full

bench-suite: $(FOR_DEVELOPMENT) ## stages, cold start, imports, memory: pytest-benchmark, timed
	$(BENCHMARKS) --benchmark-only

bench-once: $(FOR_DEVELOPMENT) ## each benchmark once on its smallest shape, not timed
	$(BENCHMARKS) --benchmark-disable
	$(BIN)/python -m benchmarks matrix --suite smallest --busy --again --results .benchmarks/smallest

scale: $(FOR_DEVELOPMENT) ## 60 heads [HEADS] on a real Slurm and a real Dask with kills; as root, with the Debian packages of .ci/run
	BRAIN_EDGE_HEADS=$(or $(HEADS),60) $(PYTEST) tests/cluster

doors: $(FOR_DEVELOPMENT) ## four new users with the commands of the README, from a clone to a mask, in minutes
	$(BIN)/python -m benchmarks doors $(if $(HEADS),--heads $(HEADS))

docs: $(FOR_DEVELOPMENT) ## write the generated reference pages: commands, JSON Schema
	$(BIN)/python docs/generate.py

site: $(FOR_THE_SITE) ## the documentation as a site in site/, to be opened from disk; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

wheel: $(FOR_DEVELOPMENT) ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## remove what the other targets made, but for .venv
	rm -rf demo dist site .coverage* .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find benchmarks brain_edge conversion docs tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone, so that TORCH_INDEX is asked for nothing else.
.venv/.installed-%: pyproject.toml constraints.txt | $(BIN)/pip
	@$(if $(TORCH_INDEX),:,echo "PyTorch comes from the default package index. Should it bring nvidia-* packages: stop and read TORCH_INDEX in the Makefile.")
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP_INSTALL) -e '.[$*]'
	@touch $@

# the site reads the code and does not run it
$(FOR_THE_SITE): pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import platform, sys; sys.exit(sys.version_info < (3, 11) and \
	    "brain_edge needs Python 3.11 or newer, $(PYTHON) is " + platform.python_version() + \
	    ": name another one, make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
