# Everything here needs Python ≥ 3.11, make and a package index; it creates and uses .venv and may be run again and again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs bench clean test-docs test-browser faults

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: reinstalled when the package's requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[$(subst +,$(comma),$*)]"
	@touch $@
comma := ,

demo: $(VENV)/.installed-metrics+video
	$(BIN)/gantrol demo --out demo

test: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export+studio
	@# Networks in tests are tiny: a second thread only waits for the first, a second process does not.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal --ignore=tests/browser

test-docs: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export+studio
	@# Every code block of README and docs, those of the pages that take long as well.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} GANTROL_DOCS=all $(BIN)/python -m pytest tests/documentation tests/test_docs.py -n logical --maxprocesses 4 --dist worksteal

test-browser: $(VENV)/.installed-dev+metrics+video+studio+browser
	@# The studio in Debian's Chromium, which is installed if it is missing and we are root.
	scripts/chromium.sh
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest tests/browser

faults: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export+studio
	@# Half an hour on two cores; as root, or where users may mount, also with disks that are really full.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults --json docs/results/faults.json
	$(BIN)/python docs/tables.py

fuzz: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export+studio+fuzz
	@# Each reader of foreign files for MINUTES, in turn; what is found is printed, and the numbers are kept.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $${MINUTES:-5} --json docs/results/fuzz.json

audit: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export+studio
	$(BIN)/python scripts/audit.py

check: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export+studio
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict --follow-imports=silent tests/typed_script.py
	$(BIN)/python scripts/audit.py

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.installed-metrics+video
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo docs/_build build
