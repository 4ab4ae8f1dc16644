# Needs Python 3.10 or newer with pip; everything else is installed into .venv.
#   make report [PROFILE=quick] [NAME=default]   run the notebooks, write reports/runs/<NAME>/index.html
#   make test     all tests, up to four at a time        make lab     JupyterLab on notebooks/
#   make bench    speed tables     make lint    style of code and notebooks      make clean

PYTHON ?= python3
PROFILE ?= quick
NAME ?= default
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := report
.PHONY: report test lint lab bench clean

report: $(INSTALLED)
	$(BIN)/facelab fetch --all
	$(BIN)/facelab faces render rendered/pose
	$(BIN)/facelab faces render rendered/wild
	$(BIN)/facelab report --profile $(PROFILE) --name $(NAME)

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lab: $(INSTALLED)
	$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(INSTALLED)
	@set -e; for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

# Only the environment and what was built: reports and the cache folder (see `facelab doctor`) stay.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find facelab tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Installs again only when the dependencies change, or where the environment is that of another folder.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif
$(INSTALLED): pyproject.toml constraints.txt
	@test ! -s $@ || test "$$(cat $@)" = "$(CURDIR)" || rm -rf $(VENV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "facelab needs Python 3.10 or newer, and $(PYTHON) is not: name another, e.g. make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian, Ubuntu: python3-venv)"; exit 1; }
	@echo "installing into $(VENV): a few minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fast,export,cluster,dev]" || { \
	  echo "pip could not install facelab (its own message is above). Usual causes: no connection to a package index"; \
	  echo "(pip reads PIP_INDEX_URL and PIP_FIND_LINKS), or a disk with too little free space:"; \
	  echo "the environment takes about 3 GB, more with CUDA. Then: make again."; exit 1; }
	@echo "$(CURDIR)" > $@
