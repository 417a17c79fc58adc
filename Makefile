# make run: set up .venv, run the first experiment, print the comparison.   make test: the same .venv with test extras, pytest.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: run test slow rehearsal lint docs bench clean

run: $(VENV)/.run
	$(VENV)/bin/mlrun run experiments/perceiver_vs_mlp.toml

# Each core tests by itself, one thread each: threads that wait for one another are slower than none.
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

slow: $(VENV)/.test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "slow and not rehearsal"

# Before a GPU is used: all experiments and all parts of its benchmark over the pretend device.
rehearsal: $(VENV)/.test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m rehearsal

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.run
	$(VENV)/bin/python docs/generate.py
	$(VENV)/bin/python docs/generate_hooks.py

bench: $(VENV)/.test
	$(VENV)/bin/python -m benchmarks.all

clean:
	rm -rf $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) --editable '.[test,dev]'
	touch $@
