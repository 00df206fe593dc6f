# `make demo`, `make test`, `make bench`, on a machine that has Python 3.11 or newer, pip and make.
# Override on the command line: make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One BLAS thread a test process: the tests are many and small, and threads that outnumber cores only wait.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 POLARS_MAX_THREADS=2

.PHONY: demo test bench check format clean
.DEFAULT_GOAL := demo

demo: $(STAMP)  ## The whole way on a simulated shop; writes demo/report.html
	$(BIN)/seqlore demo

test: $(STAMP)  ## Every test; style and types are tests too
	$(TEST_ENV) $(BIN)/python -m pytest -n 2

# The benchmarks read a dataset folder: make bench DATA=data/beauty. Without one they make a shop of that size.
DATA ?= build/bench-data

bench: $(STAMP) $(DATA)/interactions.parquet  ## Speed and memory, one JSON object a measurement
	$(BIN)/python benchmarks/evaluate.py $(DATA)
	$(BIN)/python benchmarks/sknn.py $(DATA)
	$(BIN)/python benchmarks/encode.py $(DATA)
	for net in SASRec GRU4Rec BERT4Rec; do $(BIN)/python benchmarks/nets.py $(DATA) --model $$net --epochs 3 || exit 1; done
	$(BIN)/python benchmarks/rerank.py
	$(BIN)/python benchmarks/million.py
	@echo "Beside RecBole: benchmarks/recbole_peer.py says how to run it."

build/bench-data/interactions.parquet: | $(STAMP)
	$(BIN)/seqlore data simulate --users 22000 --items 12000 --interactions-per-user 9 --out build/bench-data --overwrite

check: $(STAMP)  ## Style and types only
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## Everything that make wrote
	rm -rf $(VENV) demo build dist

# The stamp is younger than the list of dependencies once they are installed, so a second make starts at once.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Seqlore needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
