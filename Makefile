# lab: open the course. test: run the tests, in minutes; test-all: with every seed, example and data
# set. Each makes .venv first where it is missing or old.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: lab test test-all notebooks solved lint bench .venv

lab: .venv
	$(BIN)/shrink lab $(if $(ARGS),-- $(ARGS))

# Two workers, each on one thread: what waits for a process or a disk leaves the core to the other.
# conftest says which tests stay together and which begin.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --no-loadscope-reorder --durations=10

test: .venv
	@echo "the tests: 9 minutes on two idle cores, longer on busy ones"
	$(PYTEST) $(ARGS)

test-all: .venv
	@echo "the tests at full depth: 25 minutes on two cores"
	$(PYTEST) --deep $(ARGS)

notebooks: .venv
	$(BIN)/shrink build

solved: .venv
	$(BIN)/shrink build --solved

lint: .venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/shrink build --check

bench: .venv
	$(BIN)/python -m tests.bench $(ARGS)

.venv: .venv/installed

# The last line is reached only when all is installed; without it the next run starts afresh.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Shrink needs Python 3.11 to 3.13, and $(PYTHON) is not; try: make PYTHON=python3.11" >&2; \
	  exit 1; }
	test -e $@ || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps -e .
	@touch $@
