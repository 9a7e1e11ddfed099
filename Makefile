# Everything a newcomer needs: `make demo` and `make test`. Both install into .venv first; nothing but Python >= 3.11 and make is needed.
.DEFAULT_GOAL := help
.PHONY: help install demo test check format sim sim-long mutants fuzz test-long interchange bench bench-rivals performance lock clean docs

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RIVALS := .venv-rivals
SEED ?= 1
SEEDS ?= 1000
SECONDS ?= 20
WORKERS ?= 2
COMMIT := $(shell git describe --always --dirty 2>/dev/null || echo unknown-dirty)
# Sums are kept, and not computed again, only for code that has a name.
KEEP := $(if $(findstring dirty,$(COMMIT)),,--keep .sim-$(COMMIT).jsonl)

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(STAMP) ## Install the package and its locked dependencies into .venv

$(STAMP): lock.txt pyproject.toml tools/make_venv.sh
	@sh tools/make_venv.sh $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $(STAMP)

demo: $(STAMP) ## Four validators and a liar train a digits classifier on this machine
	@$(BIN)/synaptic demo

test: $(STAMP) ## Run every test but the long ones
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

check: $(STAMP) ## Format, lint, strict types, layers, tidy and quick tests: a minute or two
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m "not long and not process and not slow"

format: $(STAMP) ## Rewrite the sources in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

sim: $(STAMP) ## Replay one simulated consensus run: make sim SEED=7
	@$(BIN)/python -m synaptic_mesh.sim.run --seed $(SEED) --commit $(COMMIT)

sim-long: $(STAMP) ## Simulate SEEDS consensus runs (default 1000), going on where it stopped, and print the mix
	@$(BIN)/python -m synaptic_mesh.sim.run --seeds 0:$(SEEDS) --processes 2 --commit $(COMMIT) $(KEEP)

mutants: $(STAMP) ## Break each rule of consensus and money in turn and print which test notices it
	@$(BIN)/python tests/sim/mutants.py --processes 2

fuzz: .venv-fuzz/.installed ## Fuzz every decoder of outside bytes for SECONDS each (default 20), guided by coverage
	@.venv-fuzz/bin/python tests/fuzz/coverage_fuzz.py --seconds $(SECONDS)

.venv-fuzz/.installed: lock.txt pyproject.toml tools/make_venv.sh
	@sh tools/make_venv.sh .venv-fuzz
	@.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lock.txt
	@.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check atheris
	@.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test-long: $(STAMP) ## The suites that take many minutes
	@$(BIN)/python -m pytest -m long

interchange: $(RIVALS)/.visitors ## The tests that need onnx, torch, scikit-learn, pandas and Arrow, in the rivals' environment
	@$(RIVALS)/bin/python -m pytest -q tests/interchange tests/facade tests/models tests/engine/test_against_torch.py \
		tests/engine/test_optimizers.py tests/bench/test_contestant.py tests/test_guide.py

$(RIVALS)/.visitors: $(RIVALS)/.installed bench/visitors.txt
	@$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/visitors.txt
	@touch $@

bench: $(STAMP) ## Benchmarks of the engine next to numpy
	@$(BIN)/synaptic bench engine

bench-rivals: $(RIVALS)/.installed ## The same next to torch, onnxruntime and jax too, in an environment of its own
	@$(RIVALS)/bin/synaptic bench engine

performance: $(RIVALS)/.installed ## Run that suite and write the README's table of figures from its record
	@$(RIVALS)/bin/synaptic bench engine --output $(RIVALS)/engine.json; test $$? -le 1
	@$(RIVALS)/bin/python tools/performance_table.py $(RIVALS)/engine.json

$(RIVALS)/.installed: lock.txt bench/rivals.txt pyproject.toml tools/make_venv.sh
	@sh tools/make_venv.sh $(RIVALS)
	@$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lock.txt
	@$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/rivals.txt
	@$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(RIVALS)/bin/python -m compileall -q src
	@touch $@

lock: $(STAMP) ## Resolve the dependencies anew and write lock.txt (needs uv on the PATH)
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate --upgrade --quiet -o $(VENV)/lock.body
	@{ sed -n '/^#/p;/^[^#]/q' lock.txt; cat $(VENV)/lock.body; } > $(VENV)/lock.new && mv $(VENV)/lock.new lock.txt

clean: ## Remove what the targets above have made
	rm -rf $(VENV) $(RIVALS) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
