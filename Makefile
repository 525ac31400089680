# Everything here is one or two lines on purpose: the commands are yours to copy.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed

.PHONY: run test lab ui data bench lint audit lock setup clean

run: setup  ## every lesson, in order, as one Prefect flow
	@$(BIN)/python -m taxi_lib run $(ARGS)

test: setup  ## what must stay true
	@$(BIN)/python -m pytest $(ARGS)

lab: setup  ## JupyterLab on the lessons
	@cd notebooks && $(abspath $(BIN))/jupyter lab $(ARGS)

ui: setup  ## Prefect's and MLflow's pages, until Ctrl-C
	@$(BIN)/python -m taxi_lib ui $(ARGS)

data: setup  ## fetch the default months into data/ (needs the network)
	@$(BIN)/python -m taxi_lib data $(ARGS)

bench: setup  ## measure again what the settings rest on
	@for script in benchmarks/*.py; do $(BIN)/python $$script; done

lint: setup  ## style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

audit: setup  ## known vulnerabilities of what is locked (needs the network)
	@$(BIN)/uv tool run pip-audit --disable-pip --require-hashes -r requirements.lock

lock: setup  ## choose versions anew, within the bounds in pyproject.toml
	@$(BIN)/uv pip compile -q --upgrade --universal --fork-strategy fewest --generate-hashes --no-header --no-annotate --group dev pyproject.toml -o requirements.lock

setup: $(DONE)  ## the environment and nothing else

$(DONE): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (about a minute the first time) …"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit((3, 11) > v or v > (3, 13))' || { echo "Python 3.11 to 3.13 is needed, $$($(PYTHON) --version) was found: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	@$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

clean:
	rm -rf runs $(VENV)
