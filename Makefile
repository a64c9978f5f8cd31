# Two commands do everything, set-up included, and take seconds when nothing changed:
#
#   make demo    runs the example on real input files
#   make test    builds and runs the fast tests (PYTEST_ARGS=... is passed on)
#
# Also: make lint | format | ci | bench | audit | lock | clean. PYTHON=... chooses the interpreter.

VENV ?= .venv
PYTEST_ARGS ?=
BENCH_ARGS ?=

bin := $(VENV)/bin
stamps := $(VENV)/stamps
pip := $(bin)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test environment lint format ci bench audit lock clean system build
.DELETE_ON_ERROR:

demo: $(stamps)/demo build
	$(bin)/python examples/demo/run.py

test: $(stamps)/test build
	$(bin)/python -m pytest -m "not slow" $(PYTEST_ARGS)

# What `make test` needs, without running it.
environment: $(stamps)/test build

lint: $(stamps)/lint $(stamps)/test build
	@tools/setup-system.sh ci
	VENV=$(VENV) tools/lint.sh

# Lays out C and Python as `make lint` wants it.
format: $(stamps)/lint
	clang-format-14 -i $$(find csrc tests benchmarks examples -name '*.[ch]')
	$(bin)/ruff format --quiet .
	$(bin)/ruff check --quiet --select I --fix .

ci:
	bash .ci/run

bench: $(stamps)/bench build
	$(bin)/python -m benchmarks $(BENCH_ARGS)

# Asks a vulnerability database about every locked package; needs its network.
audit: $(stamps)/maintain
	for file in requirements/*.txt; do $(bin)/pip-audit --disable-pip --require-hashes -r $$file; done

# Renews every lock file; the result holds for Python 3.11 and later.
lock: $(stamps)/maintain
	cd requirements && for name in test build runtime demo lint package bench maintain; do \
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
