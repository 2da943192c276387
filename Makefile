# Every target sets up what it needs; PYTHON and VENV may be overridden.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SITE ?= site
PROMPT := a red circle and a blue square pass behind a brick wall

BROWSERS := chromium chromium-browser google-chrome

.PHONY: help demo test test-slow test-browser check format docs bench train clean

help:  ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(READY)  ## a long video from a sentence, in demo.mp4
	$(BIN)/malt generate "$(PROMPT)" --frames 1024 --out demo.mp4 --overwrite

test: $(READY)  ## the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

test-slow: $(READY)  ## the slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m slow

test-browser: $(READY)  ## the studio's page in a real browser; Debian's Chromium is installed where there is none
	@command -v $(BROWSERS) >/dev/null || { apt-get update -qq && apt-get install -yqq --no-install-recommends chromium >/dev/null; } \
		|| echo "there is no Chromium and it could not be installed: the tests in a browser are skipped" >&2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m browser tests/browser

check: $(READY)  ## formatting, lint, types, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src/malt
	$(BIN)/mypy
	$(BIN)/codespell

format: $(READY)  ## format, and put right what lint can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## the documentation as a site, in site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir $(SITE)
	@! grep -rlE '<(script|link|img|iframe)[^>]+(src|href)="?https?://' $(SITE) --include=*.html || { echo "these pages fetch something from elsewhere" >&2; exit 1; }

bench: $(READY)  ## the benchmarks; results go to docs/results
	$(BIN)/python benchmarks/run.py

train: $(READY)  ## a model of the synthetic world from nothing, in runs/default
	$(BIN)/malt train default --out runs/default

clean:  ## remove the environment and the caches
	rm -rf $(VENV) $(SITE) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist

# The stamp is written last, so that a set-up that broke off is begun again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "malt needs Python 3.11 to 3.13; try make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
