# Two commands do everything, set-up included, and take seconds when nothing changed:
#
#   make demo    runs the example on real input files
#   make test    builds and runs the fast tests (PYTEST_ARGS=... is passed on)
#
# Also: make lint | ci | bench | audit | lock | clean. PYTHON=... chooses the interpreter.

VENV ?= .venv
PYTEST_ARGS ?=

bin := $(VENV)/bin
stamps := $(VENV)/stamps
pip := $(bin)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint ci bench audit lock clean system build
.DELETE_ON_ERROR:

demo: $(stamps)/demo build
	$(bin)/python examples/demo/run.py

test: $(stamps)/test build
	$(bin)/python -m pytest -m "not slow" $(PYTEST_ARGS)

lint: $(stamps)/lint build
	VENV=$(VENV) tools/lint.sh

ci:
	bash .ci/run

bench: $(stamps)/bench build
	$(bin)/python -m benchmarks

# Asks a vulnerability database about every locked package; needs its network.
audit: $(stamps)/maintain
	for file in requirements/*.txt; do $(bin)/pip-audit --disable-pip --require-hashes -r $$file; done

# Renews every lock file; the result holds for Python 3.11 and later.
lock: $(stamps)/maintain
	cd requirements && for name in test build demo lint package bench maintain; do \
	    $(abspath $(bin))/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
	        --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	        $$name.in --output-file $$name.txt || exit 1; \
	done

clean:
	rm -rf build dist *.egg-info $(VENV) .mypy_cache .ruff_cache .pytest_cache
	rm -rf pyproc/lib pyproc/include pyproc/pyproc-keeper pyproc/_core.*.so pyproc/_worker.*.so
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

system:
	@tools/setup-system.sh build

# Order-only: that the system was looked at must not make the environment stale.
$(stamps)/venv: | system
	python=$$(tools/find-python.sh) && "$$python" -m venv --clear $(VENV)
	mkdir -p $(stamps) && touch $@

$(stamps)/%: requirements/%.txt $(stamps)/venv | system
	$(pip) install --require-hashes -r $<
	touch $@

$(stamps)/editable: pyproject.toml setup.py $(stamps)/build $(stamps)/venv | system
	$(pip) install --no-deps --no-build-isolation --editable .
	touch $@

# The compiler is asked every time: only what changed is made again.
build: $(stamps)/editable | system
	$(bin)/python setup.py --quiet build_ext --inplace
