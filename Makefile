# lab: open the course. test: run every test. Each makes .venv first where it is missing or old.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: lab test notebooks solved lint bench .venv

lab: .venv
	$(BIN)/shrink lab $(if $(ARGS),-- $(ARGS))

test: .venv
	$(BIN)/python -m pytest $(ARGS)

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
