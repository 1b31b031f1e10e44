# `make demo` runs the workflow on the picture book, `make test` runs the tests. Each target sets up .venv first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
RESULTS := results/picturebook
OVERLAY :=
CHANGE :=
UPGRADE :=
TESTS :=
# A target needs an option before it: --configfile and --config take every word that follows.
RUN = $(BIN)/snakemake $(if $(OVERLAY),--configfile $(OVERLAY)) $(if $(CHANGE),--config '$(CHANGE)')
# The folder of the run that these name, for the report; RESULTS=results/my-run names another.
FOLDER = $(if $(filter command,$(origin RESULTS)),$(RESULTS),$$($(BIN)/python -c 'import sys, pathlib; \
	from icsd.views.options import read_config as read; \
	print(read([pathlib.Path(path) for path in sys.argv[1].split()], sys.argv[2:]).results)' \
	'$(OVERLAY)' $(if $(CHANGE),'$(CHANGE)')))
MODELS := clip stable-diffusion vision bert probe
BENCHMARKS := $(sort $(basename $(notdir $(wildcard benchmarks/*.py))))

.PHONY: demo report test test-unit test-slurm setup lint check dag docs lock models benchmark

demo: setup
	$(BIN)/snakemake || { echo "If an earlier run was killed: type $(BIN)/snakemake --unlock, then make demo."; exit 1; }
	@echo
	@cat $(RESULTS)/evaluation/scores.md
	@echo
	@echo "Images, in a browser: $(RESULTS)/gallery/index.html"
	@echo "All figures on one page: make report"
	@echo "Where an image comes from: $(BIN)/icsd trace ID, with one of these ids:"
	@$(BIN)/icsd trace --results $(RESULTS)

# Write the report of a run, finished or not. Another run: make report OVERLAY=my-run.yaml
report: setup
	@results=$(FOLDER); \
	[ -d "$$results" ] || { echo "There is no folder $$results: run the workflow first, or name its overlay:" \
		"make report OVERLAY=my-run.yaml"; exit 1; }; \
	if $(RUN) --dry-run 2>&1 | grep "Nothing to be done" > /dev/null; then \
		$(RUN) --report "$$results/report.html"; \
	else \
		echo "The run is not finished, or its config has changed: the report shows what exists and names what is missing."; \
		$(RUN) --nolock --force report_so_far && $(RUN) --nolock report_so_far --report "$$results/report.html"; \
	fi; \
	echo "Open $$results/report.html"

# Every test, two at once; tests/conftest.py says which stay together and which begin.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest $(TESTS) --numprocesses 2 --dist loadscope --no-loadscope-reorder

# The tests that need no whole job, no whole run of the workflow and no browser.
test-unit: TESTS = tests/unit
test-unit: test

# The same workflow on a SLURM that is started for it, installed from Debian's packages where it is missing.
test-slurm: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/slurm

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: name a newer one, as in make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/snakefmt --check Snakefile rules && $(BIN)/mypy
	$(BIN)/snakemake --lint

# Run everything that a change must pass.
check: lint test test-slurm

# Draw the workflow in results/dag: the rules, the jobs, and what would run now or after a change of the config:
# make dag CHANGE='summaries={prompt: strict}'.
dag: setup
	@mkdir -p results/dag
	$(RUN) --rulegraph dot > results/dag/rules.dot
	$(RUN) --rulegraph mermaid-js > results/dag/rules.mmd
	$(RUN) --dag dot > results/dag/jobs.dot
	$(RUN) --dag mermaid-js > results/dag/jobs.mmd
	$(BIN)/python -m tools.workflow_graphs results/dag

# Write the pages that are made from code: config/README.md, config/schema.json, and the graph of rules in the guide.
# The seed keeps Snakemake's edges in order.
docs: export PYTHONHASHSEED = 0
docs: setup
	$(BIN)/python -m tools.config_docs
	$(BIN)/snakemake --rulegraph mermaid-js | $(BIN)/python -m tools.fill_block docs/guide/workflow.md rulegraph --fence mermaid

# requirements.lock, for every platform and with hashes, and envs/icsd.yaml, from pyproject.toml. A version that still fits
# stays: make lock UPGRADE='--upgrade-package numpy' takes the newest one of a package, UPGRADE=--upgrade of all.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-annotate --quiet \
		--custom-compile-command "make lock" $(UPGRADE) --output-file requirements.lock
	$(BIN)/python -m tools.pins

# Train the small models of the picture book anew: hours on two cores.
models: setup
	$(BIN)/snakemake train_picturebook
	mkdir -p resources/picturebook
	for model in $(MODELS); do \
		rm -rf resources/picturebook/$$model; \
		cp -r results/training/picturebook/models/$$model resources/picturebook/$$model; \
		rm -f resources/picturebook/$$model/.snakemake_timestamp; \
	done

# Measure one part: make benchmark NAME=groups runs benchmarks/groups.py; ARGS="--random" passes options to it.
# benchmarks/README.md says what each measures and how long it takes.
ifneq ($(filter benchmark,$(MAKECMDGOALS)),)
ifeq ($(filter $(NAME),$(BENCHMARKS)),)
$(error NAME='$(NAME)' is not a benchmark: type make benchmark NAME=groups, or one of $(BENCHMARKS))
endif
endif
benchmark: setup
	$(BIN)/python benchmarks/$(NAME).py $(ARGS)
