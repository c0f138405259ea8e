# lab: open the course. test: run the tests, in minutes; test-all: with every seed, example and data
# set, and on the oldest and the newest Python. Each makes its environment first where it is missing
# or old: .venv from PYTHON.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: lab test test-all notebooks solved lint bench $(VENV)

lab: $(VENV)
	$(BIN)/shrink lab $(if $(ARGS),-- $(ARGS))

# Two workers, each on one thread: what waits for a process or a disk leaves the core to the other.
# conftest says which tests stay together and which begin.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --no-loadscope-reorder --durations=10

test: $(VENV)
	@echo "the tests: 12 to 25 minutes on two idle cores, longer on busy ones"
	$(PYTEST) $(ARGS)

# The oldest and the newest Python that the course supports. On those of them that are at hand, and
# that $(VENV) is not made of, the short tests run too, each in an environment of its own; without a
# browser, for which Python makes no difference.
ENDS := python3.11 python3.13
OWN = $(shell $(BIN)/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
AT_HAND = $(foreach python,$(ENDS),$(if $(shell $(python) --version 2>/dev/null),$(python)))
OTHERS = $(filter-out $(OWN),$(AT_HAND))

test-all: $(VENV)
	@echo "the tests at full depth: 25 minutes on two cores; then 10 each on: $(or $(OTHERS),no other)"
	$(PYTEST) --deep $(ARGS)
	$(foreach python,$(OTHERS),$(MAKE) test PYTHON=$(python) VENV=.venv-$(python) \
	  ARGS='-m "not browser" $(ARGS)' && )true

notebooks: $(VENV)
	$(BIN)/shrink build

solved: $(VENV)
	$(BIN)/shrink build --solved

lint: $(VENV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/shrink build --check

bench: $(VENV)
	$(BIN)/python -m tests.bench $(ARGS)

$(VENV): $(VENV)/installed

# The last line is reached only when all is installed; without it the next run starts afresh.
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Shrink needs Python 3.11 to 3.13, and $(PYTHON) is not; try: make PYTHON=python3.11" >&2; \
	  exit 1; }
	test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps -e .
	@touch $@
