# Everything a newcomer types. The first run of a target builds .venv; later runs find it ready.
#   make chat                     the page on http://127.0.0.1:7860 (ARGS="--port 8000" for more)
#   make test                     all tests (ARGS="-k report" for some)
#   make lint                     ruff
#   make train-embedded PHOTOS=DIR   build checkpoints/embedded again from a folder of photos

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: chat test lint train-embedded

chat: $(VENV)/.installed-app
	$(BIN)/python -m app $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

train-embedded: $(VENV)/.installed-train
	@test -d "$(PHOTOS)" || { echo "make train-embedded PHOTOS=DIR needs a folder of photos"; exit 2; }

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# One stamp per extra, renewed when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
