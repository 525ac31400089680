# Everything here is one or two lines on purpose: the commands are yours to copy.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed
# `python -m` and not the programs beside it: their first line names the folder they were made in.
PY     := "$(BIN)/python"

.PHONY: run test check lab ui data bench lint audit lock setup clean

run: setup  ## every lesson, in order, as one Prefect flow
	@$(PY) -m taxi_lib run $(ARGS)

test: setup  ## what must stay true
	@$(PY) -m pytest $(ARGS)

check: lint  ## lint and the fast tests, in under a minute
	@$(PY) -m pytest -m "not slow" $(ARGS)

lab: setup  ## JupyterLab on the lessons
	@$(PY) -m taxi_lib lab $(ARGS)

ui: setup  ## Prefect's and MLflow's pages, until Ctrl-C
	@$(PY) -m taxi_lib ui $(ARGS)

data: setup  ## fetch the default months into data/ (needs the network)
	@$(PY) -m taxi_lib data $(ARGS)

bench: setup  ## measure it against the course's way and the plain tools (half an hour, idle)
	@$(PY) -m benchmarks $(ARGS)

lint: setup  ## style and formatting
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

audit: setup  ## known vulnerabilities of what is locked (needs the network)
	@$(PY) -m uv tool run pip-audit --disable-pip --require-hashes -r requirements.lock

lock: setup  ## choose versions anew, within the bounds in pyproject.toml
	@$(PY) -m uv pip compile -q --upgrade --universal --fork-strategy fewest --generate-hashes --no-header --no-annotate --group dev pyproject.toml -o requirements.lock

setup: $(DONE)  ## the environment and nothing else

$(DONE): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (about a minute the first time) …"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit((3, 11) > v or v > (3, 13))' || { echo "Python 3.11 to 3.13 is needed, $$($(PYTHON) --version) was found: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv "$(VENV)"
	@test -x "$(BIN)/uv" || $(PY) -m pip install -q --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	@$(PY) -m uv pip sync -q --compile-bytecode --python $(PY) --require-hashes requirements.lock
	@$(PY) -m uv pip install -q --python $(PY) --no-deps -e .
	@touch "$@"

clean:
	rm -rf runs "$(VENV)"
