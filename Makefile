# The front door: `make demo` and `make test` make the environment that they need.
# On Linux the plain torch wheel may bring CUDA: set TORCH_INDEX to PyTorch's CPU index to avoid it (see the README).
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test check docs pages format audit clean

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.run  ## train on real handwritten digits, evaluate, predict, and say where the report is
	$(BIN)/perceivers train sample:digits --out runs/demo --minutes 1
	$(BIN)/perceivers evaluate runs/demo sample:digits
	$(BIN)/perceivers predict runs/demo sample:digits --out runs/demo/predictions.parquet
	@echo "report: $(CURDIR)/runs/demo/report.html"

check: $(VENV)/.dev  ## format, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

test: check  ## everything that CI runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2  # a thread for each of two workers

docs: $(VENV)/.dev  ## the pages as HTML in docs/_build, without the network
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build
	@echo "pages: $(CURDIR)/docs/_build/index.html"

pages: $(VENV)/.dev  ## run the code of README, docs and examples at full size and write what it prints
	$(BIN)/python -m docs.pages

format: $(VENV)/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

audit: $(VENV)/.run  ## known holes in the pinned dependencies; needs the network, so CI does not run it
	$(PIP) pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf $(VENV) runs docs/_build .pytest_cache .ruff_cache .hypothesis
