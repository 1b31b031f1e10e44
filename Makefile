# `make demo` runs the workflow on the picture book, `make test` runs every test; each sets up .venv first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
RESULTS := results/picturebook
OVERLAY :=
CHANGE :=
RUN = $(BIN)/snakemake $(if $(OVERLAY),--configfile $(OVERLAY)) $(if $(CHANGE),--config '$(CHANGE)')
MODELS := clip stable-diffusion vision bert probe

.PHONY: demo report test test-slurm setup lint dag dag-picture lock models benchmark benchmark-summaries benchmark-captions \
	benchmark-embeddings benchmark-images benchmark-captioner benchmark-groups benchmark-dag \
	benchmark-real-captions benchmark-gallery benchmark-slurm check config-docs strip status resume

demo: setup
	$(BIN)/snakemake || { echo "Was the last run killed? Then type $(BIN)/snakemake --unlock, and make demo again."; exit 1; }
	@echo
	@cat $(RESULTS)/evaluation/scores.md
	@echo
	@echo "The pictures, to be opened in a browser: $(RESULTS)/gallery/index.html"
	@echo "All figures on one page: make report"
	@echo "Where one comes from: $(BIN)/icsd trace ID, of these:"
	@$(BIN)/icsd trace --results $(RESULTS)

# A page of the results, be the run finished or not; of another run: make report OVERLAY=its.yaml RESULTS=results/its-name
report: setup
	@if $(RUN) --dry-run 2>&1 | grep "Nothing to be done" > /dev/null; then \
		$(RUN) --report $(RESULTS)/report.html; \
	else \
		echo "The run is not finished, or its config has changed: the report has what there is, and says what is missing."; \
		$(RUN) --nolock --force report_so_far && $(RUN) report_so_far --report $(RESULTS)/report.html; \
	fi
	@echo "Open $(RESULTS)/report.html"

# Two at once; tests/conftest.py says which stay together and which begin.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

# The same workflow on a SLURM that is started for it, installed from Debian's packages where it is missing.
test-slurm: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/slurm

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: name a newer one, as in make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/snakefmt --check Snakefile rules && $(BIN)/mypy
	$(BIN)/snakemake --lint

# All that a change must pass.
check: lint test test-slurm

# config/README.md and config/schema.json: every key, from the config model.
config-docs: setup
	$(BIN)/python -m tools.config_docs

# The workflow as graphs in results/dag, of rules, of jobs, and of what would run now, or with a change of the config:
# make dag CHANGE='summaries={prompt: strict}'. And the rule graph in README.md. The seed keeps Snakemake's edges in order.
dag: export PYTHONHASHSEED = 0
dag: setup
	@mkdir -p results/dag
	$(RUN) --rulegraph dot > results/dag/rules.dot
	$(RUN) --rulegraph mermaid-js > results/dag/rules.mmd
	$(RUN) --dag dot > results/dag/jobs.dot
	$(RUN) --dag mermaid-js > results/dag/jobs.mmd
	$(BIN)/python -m tools.workflow_graphs results/dag
	$(BIN)/snakemake --rulegraph mermaid-js | $(BIN)/python -m tools.fill_block README.md rulegraph --fence mermaid

# The picture in README.md of what another prompt would rerun, from a finished default run.
dag-picture:
	@$(BIN)/snakemake --dry-run 2>&1 | grep "Nothing to be done" > /dev/null || { echo "First finish the run: make demo"; exit 1; }
	$(MAKE) dag CHANGE='summaries={prompt: strict}'
	cp results/dag/rerun.svg docs/images/rerun.svg

# The strip in README.md: a group of the default run, and its captions drawn one by one.
strip: setup
	$(BIN)/snakemake $(RESULTS)/images/single_matched/000{0,1}-of-0002.parquet
	$(BIN)/icsd strip --results $(RESULTS) --group 12003 --output docs/images/strip.png

# requirements.lock and envs/icsd.yaml from what .venv holds: install other versions there, run the tests, then this.
lock:
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

# Measure the small models, and every arm on three seeds; put the tables into the documents.
benchmark: setup
	$(BIN)/snakemake measure_picturebook picturebook_claim --configfile config/runs/claim.yaml
	$(BIN)/python -m tools.fill_block docs/background/picturebook.md quality < results/benchmark/picturebook/quality.md
	$(BIN)/python -m tools.fill_block docs/background/claim.md claim < results/claim/benchmark/claim.md
	sed '/^What they were trained on/,$$d' results/claim/benchmark/claim.md | $(BIN)/python -m tools.fill_block README.md claim

# How fast an endpoint is asked, against the original's way (benchmarks/README.md): seven minutes of waiting.
benchmark-summaries: setup
	$(BIN)/python benchmarks/summaries.py

# What memory ten million captions take on their way into shards (benchmarks/README.md).
benchmark-captions: setup
	$(BIN)/python benchmarks/captions.py

# How fast captions become vectors, beside open_clip's own loop (benchmarks/README.md).
benchmark-embeddings: setup
	$(BIN)/python benchmarks/embeddings.py

# How fast pictures are drawn, beside a plain loop over the pipeline, and one picture at the size of Stable Diffusion 1.4.
benchmark-images: setup
	$(BIN)/python benchmarks/images.py
	$(BIN)/python benchmarks/full_size_picture.py

# A training step at the paper's size; and a captioner of a thousand photographs, which ../shared/data or --data has.
benchmark-captioner: setup
	$(BIN)/python benchmarks/full_size_captioner.py
	$(BIN)/python benchmarks/photographs.py

# What planning a run of COCO's size takes, at 600 and 6,000 shards.
benchmark-dag: setup
	$(BIN)/python benchmarks/dag.py

# Captions of COCO val2014, which ../shared/data or --captions has, up to summaries: time and memory a stage, ten groups.
benchmark-real-captions: setup
	$(BIN)/python benchmarks/real_captions.py

# The 30 nearest of 202,654 captions beside faiss, memory at two sizes, and what approximate indexes find.
benchmark-groups: setup
	$(BIN)/python benchmarks/groups.py

# Ten thousand pictures in the gallery, in the headless Chromium of the distribution: time until they are seen, memory.
benchmark-gallery: setup
	$(BIN)/python benchmarks/gallery.py
	$(BIN)/python benchmarks/gallery.py --pictures 1000 --side 512

# What a job on a cluster costs beside its work, on this cluster, or on one that is started for it (benchmarks/README.md).
benchmark-slurm: setup
	if command -v sbatch > /dev/null && sinfo > /dev/null; then $(BIN)/python benchmarks/slurm_overhead.py; \
	else tests/packages.sh slurm; PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python tests/slurm/cluster.py \
		$(CURDIR)/$(BIN)/python benchmarks/slurm_overhead.py; fi

# How far a run is: make status ARGS="--configfile config/runs/coco.yaml", as snakemake was started.
status: setup
	@$(BIN)/icsd status $(ARGS)

# Go on after the death of the snakemake that submitted jobs; ARGS as above, with --cancel to cancel the jobs first.
resume: setup
	@$(BIN)/icsd resume $(ARGS)
