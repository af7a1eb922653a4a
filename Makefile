# Two commands: `make demo` shows what bycatch does, `make test` checks that it does it right.
PYTHON ?= python3
NEWEST ?= python3.13
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

LIBRARIES := tests/test_drc.py tests/test_export.py tests/test_frames.py \
  tests/test_gaia.py tests/test_pipeline.py \
  tests/test_report.py tests/test_settings.py tests/test_simulate.py tests/test_tables.py

KERNELS := tests/test_kernel_safety.py tests/test_kernels.py tests/test_detect_kernels.py \
  tests/test_measure_kernels.py tests/test_lacosmic.py tests/test_deblend.py tests/test_kron.py \
  tests/test_noise_image.py tests/test_matching.py

.PHONY: demo test lsdb bounds test-lowest test-newest test-development check accuracy truth bench gate \
  fuzz docs changelog release-check clean

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

# Everything: the tests on all cores; neighbours stay together, as they share what is made for them.
test: $(BIN)/bycatch
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=20

# What reads surveys besides bycatch; without it those tests are skipped.  It is no part of the
# extras: hats refuses the lowest pyarrow and dask that pyproject.toml allows.
lsdb: $(BIN)/bycatch
	$(BIN)/python -m pip install --quiet 'lsdb>=0.11'

# The kernels' tests with numba's bounds checks: an index beyond an array is an error.
# The cache is new each time, as numba does not notice a change in a kernel that another calls; here
# and for other versions kernels are compiled with fewer optimizations, in three quarters of the time.
bounds: $(BIN)/bycatch
	rm -rf .bounds
	NUMBA_OPT=1 NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/.bounds $(BIN)/python -m pytest $(KERNELS) -k "not astroscrappy"
	rm -rf .bounds

# The tests that depend most on libraries, with the lowest versions that pyproject.toml allows;
# old libraries beside new ones warn of each other's deprecated calls.
test-lowest: .venv-lowest/bin/bycatch
	NUMBA_OPT=1 NUMBA_CACHE_DIR=$(CURDIR)/.venv-lowest/numba .venv-lowest/bin/python -m bycatch.precompile
	NUMBA_OPT=1 NUMBA_CACHE_DIR=$(CURDIR)/.venv-lowest/numba .venv-lowest/bin/python -m pytest -W ignore::DeprecationWarning -m "not slow" $(LIBRARIES)

.venv-lowest/bin/bycatch: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) .ci/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/constraints.txt --editable '.[dev]'
	@touch $@

# The same tests on another Python with the newest versions: make test-newest NEWEST=python3.13
test-newest: .venv-newest/bin/bycatch
	NUMBA_OPT=1 NUMBA_CACHE_DIR=$(CURDIR)/.venv-newest/numba .venv-newest/bin/python -m bycatch.precompile
	NUMBA_OPT=1 NUMBA_CACHE_DIR=$(CURDIR)/.venv-newest/numba .venv-newest/bin/python -m pytest -m "not slow" $(LIBRARIES)

.venv-newest/bin/bycatch: pyproject.toml
	$(NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# The same tests against the versions that the libraries' developers work on, where an index of
# nightly wheels can be reached: NIGHTLY is that of the scientific Python projects.
NIGHTLY := https://pypi.anaconda.org/scientific-python-nightly-wheels/simple
test-development:
	$(PYTHON) -m venv .venv-development
	.venv-development/bin/python -m pip install --quiet --editable '.[dev]'
	.venv-development/bin/python -m pip install --quiet --upgrade --pre --extra-index-url $(NIGHTLY) \
	  numpy scipy astropy photutils scikit-image pandas pyarrow matplotlib
	NUMBA_CACHE_DIR=$(CURDIR)/.venv-development/numba .venv-development/bin/python -m pytest -n auto \
	  -W default $(LIBRARIES)

# Style, types, the direction of imports, and spelling.
check: $(BIN)/bycatch
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# The numbers of docs/accuracy_tables.md (about three quarters of an hour).
accuracy: $(BIN)/bycatch
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/alignment.py --workers 2

# The same on skies that the simulator's assumptions do not cover, of the family that judges (half an
# hour; TRUTH='--seeds 2', or names of recipes).
truth: $(BIN)/bycatch
	$(BIN)/python benchmarks/truth.py $(TRUTH)

# The numbers of docs/speed_tables.md (half an hour; BENCH=--quick for small images of the whole chain).
bench: $(BIN)/bycatch
	$(BIN)/python benchmarks/speed.py $(BENCH)
	$(BIN)/python benchmarks/scaling.py $(BENCH)
	$(BIN)/python benchmarks/speed_crmask.py
	$(BIN)/python benchmarks/speed_detect.py
	$(BIN)/python benchmarks/speed_deblend.py
	$(BIN)/python benchmarks/speed_measure.py
	$(BIN)/python benchmarks/speed_objects.py $(BENCH)

# Has a kernel or stage become slower relative to its library in this run, or does it need more
# memory? (about two minutes; GATE=--record keeps what was measured in benchmarks/history.json.)
gate: $(BIN)/bycatch
	$(BIN)/python benchmarks/gate.py $(GATE)

# Damaged headers, files and tables by the thousand (half an hour; FUZZ='--examples 500' for fewer).
fuzz: $(BIN)/bycatch
	$(BIN)/python benchmarks/fuzz.py $(FUZZ)

# The documentation as a site: docs/_build/html/index.html.
docs: $(BIN)/bycatch
	$(BIN)/python docs/make_reference.py
	$(BIN)/python -m sphinx -W -q docs docs/_build/html

# What the fragments in changelog.d/ will say in the change log.
changelog: $(BIN)/bycatch
	$(BIN)/python -m pip install --quiet --editable '.[release]'
	$(BIN)/towncrier build --draft --version next

# A release, tried and not published: build, twine check, wheel and source archive installed from a
# local index into bare environments, and a demo there (some minutes).
release-check: $(BIN)/bycatch
	$(BIN)/python -m pip install --quiet --editable '.[release]'
	$(BIN)/python .ci/release.py

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest .venv-development .bounds $(DEMO) docs/_build build dist *.egg-info src/*.egg-info
