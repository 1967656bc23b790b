# `make demo`, `make test` and `make docs`. Each makes its own virtual environment and installs what it
# needs, in the versions that constraints/ records for this Python. `make test LOCK=` takes the newest
# that pyproject.toml admits instead, `make lock` records those.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK ?= constraints/$(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])').txt
LOCKED := $(wildcard $(LOCK))
STAMP := $(VENV)/.installed$(if $(LOCKED),,-newest)
PIP = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
INSTALL = $(PIP) $(if $(LOCKED),--constraint $(LOCKED),--upgrade --upgrade-strategy eager)

.PHONY: demo test fuzz lint docs gpu-pack lock clean faults

demo: $(STAMP)
	@$(BIN)/semiseg demo --out demo

test: $(STAMP)-dev lint
	$(BIN)/python -m pytest tests semiseg --doctest-modules -n 2 --dist loadfile

# 20,000 mutated inputs of every kind of file; FUZZ="--seed 7 --kind scan.nifti" for a part of them
fuzz: $(STAMP)-dev
	PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ)

# every command meets every fault, twice: hours; stopped, it goes on; MOST=4 takes four places of each
faults: $(STAMP)-dev
	$(BIN)/python tests/faults/suite.py --rounds 2 $(if $(MOST),--most $(MOST))

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

docs: $(STAMP)-dev $(STAMP)-docs
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

$(STAMP): pyproject.toml $(LOCKED)
	@echo "installing semiseg into $(VENV), about a minute; the demo follows"
	@$(if $(LOCKED),,echo "no recorded versions$(LOCK:%=, % is missing): installing the newest that pyproject.toml admits")
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) -e .
	@rm -f $(VENV)/.installed*
	@touch $@

$(STAMP)-dev: pyproject.toml $(LOCKED)
	@echo "installing semiseg and its test tools into $(VENV), a minute or two"
	@$(if $(LOCKED),,echo "no recorded versions$(LOCK:%=, % is missing): installing the newest that pyproject.toml admits")
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) -e ".[dev]"
	@rm -f $(VENV)/.installed*
	@touch $(STAMP) $@

$(STAMP)-docs: $(STAMP)-dev
	@echo "installing Sphinx into $(VENV)"
	@$(INSTALL) -e ".[docs]"
	@touch $@

gpu-pack: $(STAMP)
	$(BIN)/python experiments/gpu_pack.py $(if $(ACDC),--acdc $(ACDC))

lock:
	$(PYTHON) constraints/lock.py $(LOCK)

clean:
	rm -rf $(VENV) demo docs/_build
