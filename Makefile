# Everything here is one or two lines on purpose: the commands are yours to copy.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed

.PHONY: run test lab data lint lock setup clean

run: setup  ## every lesson, in order, as one Prefect flow
	@$(BIN)/python -m taxi_lib run $(ARGS)

test: setup  ## what must stay true
	@$(BIN)/python -m pytest $(ARGS)

lab: setup  ## JupyterLab on the lessons
	@cd notebooks && $(abspath $(BIN))/jupyter lab $(ARGS)

data: setup  ## fetch the default months into data/ (needs the network)
	@$(BIN)/python -m taxi_lib data $(ARGS)

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: setup  ## choose versions anew, within the bounds in pyproject.toml
	@$(BIN)/uv pip compile -q --upgrade --universal --fork-strategy fewest --generate-hashes --no-header --no-annotate --group dev pyproject.toml -o requirements.lock

setup: $(DONE)  ## the environment and nothing else

$(DONE): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (about a minute the first time) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

clean:
	rm -rf runs $(VENV)
