# Two commands: `make demo` and `make test`. Each makes its own virtual environment and installs what
# it needs, in the versions that constraints/ records for this Python. `make test LOCK=` takes the
# newest that pyproject.toml admits instead, `make lock` records those.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK ?= constraints/$(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])').txt
LOCKED := $(wildcard $(LOCK))
STAMP := $(VENV)/.installed$(if $(LOCKED),,-newest)
PIP = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
INSTALL = $(PIP) $(if $(LOCKED),--constraint $(LOCKED),--upgrade --upgrade-strategy eager)

.PHONY: demo test lint lock clean

demo: $(STAMP)
	@$(BIN)/semiseg demo --out demo

test: $(STAMP)-dev lint
	$(BIN)/python -m pytest tests -n 2 --dist loadfile

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

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

lock:
	$(PYTHON) constraints/lock.py $(LOCK)

clean:
	rm -rf $(VENV) demo
