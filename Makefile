# Two commands do everything on a machine with Python >= 3.11.5 and make:
#   make run     installs, runs every notebook that is not up to date, prints the claims table
#   make real    the same with small real weights on real data, fetched once (420 MB)
#   make test    installs, runs all tests
#   make gallery the committed results as pages to look at (runs/gallery/index.html); make run brings it up to date, too
# P=<paper> N=<notebook> PROFILE=<smoke|mini|real|gpu|full> narrow `make run`; JOBS=<n> notebooks at a time; CLUSTER=slurm.
# A run writes below runs/ alone; `make publish` (same P, N, PROFILE) copies it into the repository.
PYTHON ?= python3
PROFILE ?= mini
JOBS ?= 2
BIN := .venv/bin
W := $(BIN)/python -m lib.workflow
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --doctest-modules tests lib papers benchmarks

CHOICE = --profile "$(PROFILE)" $(if $(P),--paper "$(P)") $(if $(N),--notebook "$(N)")

.PHONY: help run real data doctor publish compare arithmetic gallery paper pages embed test check nbval lint format tables cache clean-cache lab lock

run: .venv/.installed
	@$(W) run $(CHOICE) --jobs "$(JOBS)" $(if $(CLUSTER),--cluster "$(CLUSTER)") $(if $(AGAIN),--again)

real: .venv/.installed
	@$(W) data --fetch --profile real $(if $(P),--paper "$(P)")
	@$(MAKE) --no-print-directory run PROFILE=real

# What papers read from outside; of every profile, unless one is named. FETCH=1 brings what may be fetched, SIZES=1 asks how large it is.
data: .venv/.installed
	@$(W) data $(if $(P),--paper "$(P)") $(if $(filter file,$(origin PROFILE)),,--profile "$(PROFILE)") $(if $(FETCH),--fetch) $(if $(SIZES),--sizes)

doctor: .venv/.installed  ## before anything long: inputs, disk, memory, cards, hours, and what a step of each arm needs
	@$(W) doctor $(CHOICE) --jobs "$(JOBS)" $(if $(CELLS),--cells)

publish compare: .venv/.installed
	@$(W) $@ $(CHOICE)

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -7
	@echo 'other targets: data P=<paper> [FETCH=1], doctor P=<paper> PROFILE=full, paper P=new_slug, pages, embed, publish, compare (your last run beside the committed one), arithmetic, lab, check (lint + unit'
	@echo 'tests), nbval (all notebooks), format, tables, cache, clean-cache, lock'

test: .venv/.installed  ## everything CI runs: lint, units, the examples in docstrings, notebooks at smoke, freshness, nbval of a sample
	$(MAKE) --no-print-directory lint
	$(PYTEST)

check: .venv/.installed lint  ## lint and all unit tests that take no seconds each, < 90 s
	$(PYTEST) -m "not notebooks and not gpu and not slow"

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check lib papers benchmarks tests
	$(BIN)/python -c "from importlinter.cli import lint_imports_command as main; main()" --config pyproject.toml --no-cache
	$(W) lint

nbval: .venv/.installed  ## re-execute and compare every committed notebook (REPRISE_NBVAL=all)
	REPRISE_NBVAL=all $(BIN)/python -m pytest -n 2 -m notebooks tests/test_nbval.py

format: .venv/.installed
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q lib papers benchmarks tests
	$(W) format

tables cache arithmetic gallery: .venv/.installed
	@$(W) $@

paper: .venv/.installed  ## P=new_slug: a paper that runs at once, to be filled
	@$(W) new-paper "$(P)"

embed: .venv/.installed  ## FOLDER=scans CHECKPOINT=folder (REPORTS=reports.csv OUTPUT=folder): your own CTs and reports, for the explorer
	@$(W) embed "$(FOLDER)" --checkpoint "$(CHECKPOINT)" $(if $(REPORTS),--reports "$(REPORTS)") $(if $(OUTPUT),--output "$(OUTPUT)")

pages: .venv/.installed  ## the explorer's committed pages and, where there is a Chromium, the README's pictures
	@$(W) run --notebook explore_embeddings
	@mkdir -p pages && cp runs/explore/brgsa_full.mini.html pages/
	@$(W) data --fetch --profile real --paper brgsa
	@$(BIN)/python -m papers.brgsa.embedded runs/explore
	@$(BIN)/python -m lib.explorer runs/explore/chest_ct_mapped.parquet runs/explore/chest_ct_spread.parquet --colour height --output pages/chest_ct.real.html
	@$(W) gallery
	@$(BIN)/python tests/helpers/screenshots.py

clean-cache: .venv/.installed
	$(W) cache clean

lab: .venv/.installed  ## on copies below runs/lab; OPTIONS="--no-browser --port 8899" (or ARGS) are JupyterLab's own
	@$(W) lab -- $(OPTIONS) $(ARGS)

# The lock is what a fresh environment of the declared ranges holds; local build tags (+cpu) are dropped.
lock: .venv/.installed
	{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip list --format=freeze --disable-pip-version-check | sed 's/+[a-z0-9.]*$$//' | grep -viE '^(pip|setuptools|wheel|reprise)==' | sort -f; } > .lock.part
	mv .lock.part requirements.lock

# torch first and by itself: asked for by another package, pip may take a larger build than the pinned one.
.venv/.installed: requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || { echo "Reprise needs Python >= 3.11.5 (a locked package does); set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the locked environment into .venv (2 to 3 minutes, once) ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@
