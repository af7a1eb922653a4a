# Two commands: `make demo` shows what bycatch does, `make test` checks that it does it right.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test check accuracy bench docs clean

$(BIN)/bycatch: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("bycatch needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# A simulated visit through the whole chain, offline, and its catalogs against the truth.
demo: $(BIN)/bycatch
	rm -rf $(DEMO)
	$(BIN)/bycatch simulate $(DEMO)
	$(BIN)/bycatch run $(DEMO)/raw -o $(DEMO)/out --gaia $(DEMO)/gaia.ecsv
	$(BIN)/bycatch assess $(DEMO)/out $(DEMO)

# Everything: the tests on all cores.
test: $(BIN)/bycatch
	$(BIN)/python -m pytest -n auto

# Style, types and the direction of imports.
check: $(BIN)/bycatch
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

# The numbers of docs/accuracy.md (about three quarters of an hour).
accuracy: $(BIN)/bycatch
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/alignment.py --workers 2

# The numbers of docs/speed.md (half an hour; BENCH=--quick for small images of the whole chain).
bench: $(BIN)/bycatch
	$(BIN)/python benchmarks/speed.py $(BENCH)
	$(BIN)/python benchmarks/scaling.py $(BENCH)
	$(BIN)/python benchmarks/speed_crmask.py
	$(BIN)/python benchmarks/speed_detect.py
	$(BIN)/python benchmarks/speed_deblend.py
	$(BIN)/python benchmarks/speed_measure.py

# The documentation as a site: docs/_build/html/index.html.
docs: $(BIN)/bycatch
	$(BIN)/python docs/make_reference.py
	$(BIN)/python -m sphinx -W -q docs docs/_build/html

clean:
	rm -rf $(VENV) $(DEMO) docs/_build build dist *.egg-info src/*.egg-info
