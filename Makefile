# Everything here needs Python ≥ 3.11, make and a package index; it creates and uses .venv and may be run again and again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: reinstalled when the package's requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[$(subst +,$(comma),$*)]"
	@touch $@
comma := ,

demo: $(VENV)/.installed-metrics+video
	$(BIN)/gantrol demo --out demo

test: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export
	@# Networks in tests are tiny: a second thread only waits for the first, a second process does not.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

check: $(VENV)/.installed-dev+avatars+metrics+video+readers+predictors+export
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.installed-metrics+video
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo docs/_build build
