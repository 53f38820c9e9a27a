# `make` lists the commands. Variables are given behind the command: make report DATASET=DIR SEEDS=5

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A name that nothing reads would be ignored in silence (SEED=5): refuse it here, before anything is installed.
REPORT_VARIABLES := DATASET SEEDS EPOCHS LEARNING_RATE PRECISION STAIN SIZE TEST_FRACTION FOREGROUND WORKERS NAME REPEATS UNTIL POSSIBLE
DATA_VARIABLES := ARCHIVE CHECK PICTURES
PREDICT_VARIABLES := IMAGES OUT
KNOWN := $(REPORT_VARIABLES) $(DATA_VARIABLES) $(PREDICT_VARIABLES) A B MORE FORCE PYTHON YES
GIVEN := $(foreach v,$(.VARIABLES),$(if $(filter command line,$(origin $v)),$v))
UNKNOWN := $(filter-out $(KNOWN) MAKE% MFLAGS,$(GIVEN))
GOALS := help report study why compare verify pdf predict data lab test test-quick test-slow lint bench calibrate notebooks lock clean
STRAY := $(firstword $(filter-out $(GOALS) .venv/.ready%,$(MAKECMDGOALS)))
hint = $(shell PYTHONPATH=lib python3 -c 'import sys; from _errors import did_you_mean; \
	print(did_you_mean(sys.argv[1], sys.argv[2:]))' $(call quote,$1) $2)
quote = '$(subst ','\'',$1)'
ifneq ($(UNKNOWN),)
$(error $(firstword $(UNKNOWN)): unknown variable; $(call hint,$(firstword $(UNKNOWN)),$(KNOWN)))
endif
ifneq ($(STRAY),)
$(error $(STRAY): unknown command; $(if $(wildcard $(STRAY)),did you mean DATASET=$(STRAY)?,$(call hint,$(STRAY),$(GOALS))))
endif

IGNORED := $(strip $(foreach v,$(filter-out NAME,$(REPORT_VARIABLES)),$(if $(filter environment,$(origin $v)),$v)))
ifneq ($(IGNORED),)
$(error $(firstword $(IGNORED)): expected behind the command (make report $(firstword $(IGNORED))=...), found in the environment)
endif

# PYTHON=... uses an interpreter that has what requirements.lock lists; otherwise an environment is made in .venv.
ifeq ($(origin PYTHON),command line)
PY := $(PYTHON)
READY :=
TESTS_READY :=
else
PY := .venv/bin/python
READY := .venv/.ready
TESTS_READY := .venv/.ready-for-tests
endif

ARGUMENTS = $(foreach v,$(filter-out PYTHON YES,$(KNOWN)),$(if $(filter command,$(origin $v)),$(call quote,$v=$(value $v))))

.PHONY: $(GOALS)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  with $(KNOWN), such as: make report DATASET=my_images SEEDS=5"

report: $(READY) ## train what is missing and write reports/<name>/report.html
	@$(PY) -m lib.report $(ARGUMENTS)

study: $(READY) ## the full study, 20 seeds and all side experiments, into reports/<name>-study/ (hours; resumable)
	@$(PY) -m lib.report STUDY=yes $(ARGUMENTS)

why: $(READY) ## say what the two above would redo, and because of what (FORCE=1 makes them redo it anyway)
	@$(PY) -m lib.report.unchanged $(ARGUMENTS)

compare: $(READY) ## say in what reports differ (A=reports/x B=reports/y MORE=reports/z,...), in a page of reports/compared/
	@$(PY) -m lib.report.compare $(ARGUMENTS)

verify: $(READY) ## train again, quickly, and compare with the committed results of the full study
	@$(PY) -m lib.report.verify $(ARGUMENTS)

pdf: $(READY) ## print a report (NAME=, or its DATASET=) into report.pdf, where Chromium is installed
	@$(PY) -m lib.report.pdf $(ARGUMENTS)

predict: $(READY) ## masks of any pictures (IMAGES=DIR) by the best network of a report (NAME=), into a new folder (OUT=DIR)
	@$(PY) -m lib.report.predict $(ARGUMENTS)

data: $(READY) ## import the Warwick-QU archive (ARCHIVE=FILE), or check a folder (CHECK=DIR, PICTURES=FILE.png)
	@$(PY) -m lib.data $(ARGUMENTS)

lab: $(READY) ## open the notebooks in JupyterLab
	@$(PY) -m jupyterlab notebooks/0_index.ipynb $(if $(filter 0,$(shell id -u)),--allow-root)

# Two processes run at a time on two cores: with two threads each, the threads of one would wait for those of the other.
test-quick test-slow: export OMP_NUM_THREADS = 1
NBVAL = $(PY) -m pytest -n 2 --dist loadfile -p nbval --nbval --nbval-current-env -p no:cacheprovider -W default
test: $(TESTS_READY) ## lint, types, tests, and the notebooks as they are (minutes)
	@$(MAKE) --no-print-directory -j 2 lint test-quick

test-quick: $(TESTS_READY)
	$(PY) -m pytest -n 2 --dist worksteal -m "not slow"
	$(NBVAL) --ignore notebooks/5_side_experiments.ipynb notebooks

test-slow: $(TESTS_READY) ## the tests that take long
	$(PY) -m pytest -n 2 --dist worksteal -m slow
	$(NBVAL) notebooks/5_side_experiments.ipynb

lint: $(TESTS_READY) ## style, types, and which room of lib looks into which
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache --no-logo

bench: $(READY) ## measure training on this machine, in a quarter of an hour, into reports/bench.json
	@$(PY) tests/tools/bench.py

calibrate: $(READY) ## how often the intervals cover, in simulated studies, into docs/calibration.md (minutes)
	@$(PY) tests/tools/calibrate.py

notebooks: $(TESTS_READY) ## execute the notebooks and store the outputs that are the same on every machine
	$(PY) tests/tools/store_outputs.py notebooks/*.ipynb

lock: $(TESTS_READY) ## resolve requirements.lock anew from pyproject.toml
	$(PY) -m piptools compile -q --upgrade --extra dev --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links -o requirements.lock pyproject.toml
	sed -i.bak -e 's/^\(torch==[0-9.]*\)+cpu$$/\1/' -e '/^#/d' -e '/^$$/d' requirements.lock && rm requirements.lock.bak

# Only what `make report` wrote; and nothing while it is at work, which holds reports/.<name>.new.lock, or a run, data/runs/<run>.lock.
REPORTS_MADE = find reports -mindepth 1 -maxdepth 1 -type d ! -name reference \( -name '.*.new' -o -name '.*.old' \
	-o -name '.*.next-*' -o -name '*.failed' -o -name compared -o -exec test -f {}/results.json \; \)
clean: ## say what reports and stored runs there are, and delete them after a yes (or YES=1)
	@for held in $$(find reports data/runs -maxdepth 1 -name '*.lock' 2>/dev/null); do flock -n "$$held" true || \
		{ echo "error: expected no report in the making, found $$held; wait for it, or end it" >&2; exit 2; }; done
	@echo "To be deleted:"; $(REPORTS_MADE) -printf '  %p\n'
	@echo "  $$(find data/runs -name run.pt 2>/dev/null | wc -l) finished runs in data/runs, and decoded images in data/cache"
	@answer=$(call quote,$(YES)); [ "$$answer" ] || read -r -p "Delete them? [y/N] " answer || true; \
	case "$$answer" in y|yes|1) $(REPORTS_MADE) -exec rm -r {} + ; rm -rf data/runs data/cache reports/.*.new.lock ;; *) echo "Nothing deleted." ;; esac

# The lock constrains what is installed: the report's packages first, the tools for tests when they are wanted.
INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable

# An environment keeps the Python that it was made with, as long as that one works; otherwise it is made anew, whole.
.venv/.ready: requirements.lock pyproject.toml
	@.venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exit 0; \
	for python in python3 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "setting up .venv with $$($$python --version), once; this takes a few minutes"; \
		$$python -m venv --clear .venv && exit 0; exit 2; \
	done; echo "error: expected Python 3.11 or newer, found $$(python3 --version 2>&1)"; exit 2
	$(INSTALL) .
	@touch $@

.venv/.ready-for-tests: .venv/.ready
	$(INSTALL) '.[dev]'
	@touch $@
