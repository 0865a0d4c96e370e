# Every target is one command that a person could type; the first one that needs .venv makes it.
PYTHON ?= python3
CONFIG ?= configs/mt.toml
STUDY  ?= configs/study_cpu.toml
ENCODER ?= --config configs/encoder_bo.toml
ARGS   ?=
# e.g. make install PIP_ARGS="--extra-index-url <an index with CPU builds of torch>"
PIP_ARGS ?=

PY   := .venv/bin/python
DONE := .venv/.installed
RUN   = $(PY) -m grpo.run --config "$(CONFIG)"
PIP   = $(PY) -m pip install --quiet $(PIP_ARGS)
NO_PACKAGES = { echo "pip could not install the packages: see above; look at the network, or name a mirror by PIP_ARGS, and type the same again" >&2; exit 1; }
LOCK  = $(shell flock -n Makefile true 2>/dev/null; test $$? -le 1 && echo flock Makefile)
export OMP_WAIT_POLICY = PASSIVE
export GOMP_SPINCOUNT = 0
export PIP_USER = 0

.DEFAULT_GOAL := help
.PHONY: help install data train sft train-only grpo eval report study encoder attacks attacks-own bench bench-gpu bench-reward bench-peers bench-metrics test test-slow coverage lint docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo "  CONFIG=$(CONFIG) ARGS=\"key=value ...\" choose another configuration or override a setting"

install: $(DONE)  ## make .venv with the pinned packages (every other target does this when needed)

# a second make waits here for the first one, where there is flock and the file system has locks
$(DONE): requirements.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	@$(LOCK) $(MAKE) --no-print-directory .venv/.packages
	@touch $(DONE)

.venv/.packages: requirements.txt setup.cfg pyproject.toml
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "installing the pinned packages into .venv, once: some minutes and 2 GB, or more for accelerators"
	@$(PIP) -r requirements.txt || $(NO_PACKAGES)
	@$(PIP) --no-deps --no-build-isolation -e . || $(NO_PACKAGES)
	@touch $@

data: $(DONE)  ## obtain, clean and split the corpus
	$(RUN) --stages data $(ARGS)

train: $(DONE)  ## the main job: data, model, warm start, training, evaluation, report
	$(RUN) $(ARGS)

sft: $(DONE)  ## data, model and the warm start only
	$(RUN) --stages data,model,sft $(ARGS)

train-only: $(DONE)  ## up to the trained model, without evaluation and report
	$(RUN) --stages data,model,sft,train $(ARGS)

grpo: train-only  # its name in earlier versions

eval: $(DONE)  ## evaluate a trained run
	$(RUN) --stages eval,report $(ARGS)

report: $(DONE)  ## write report.html and report.md again, from the run folder alone
	$(RUN) --stages report $(ARGS)

study: $(DONE)  ## compare methods and their tax: STUDY (ARGS=--check prints the bill first)
	$(PY) -m grpo.study --config "$(STUDY)" $(ARGS)

encoder: $(DONE)  ## distil the encoder "bo", or one of your pairs (ENCODER="--run configs/mine.toml")
	$(PY) -m reward.distil $(ENCODER) $(ARGS)

attacks: $(DONE)  ## what every reward pays for cheap attacks in 32 languages: docs/results/attacks.md
	$(PY) -m eval.attack_survey --out docs/results/attacks.md $(ARGS)

attacks-own: $(DONE)  ## what the reward of CONFIG pays for cheap attacks on its own reference texts
	$(PY) -m eval.attacks --config "$(CONFIG)" $(ARGS)

bench: $(DONE)  ## time a step and its pieces (ARGS=--slopes: growth with size)
	$(PY) -m benchmarks.run $(ARGS)

bench-gpu: $(DONE)  ## steps, decoding and warm start on an accelerator beside its limits (4 minutes)
	$(PY) -m benchmarks.gpu $(ARGS)

bench-reward: $(DONE)  ## the cosine kernel, the embedding cache and the encoder at several sizes
	$(PY) -m benchmarks.reward
	$(PY) -m benchmarks.encoder

bench-peers: $(DONE) .venv-peers/.installed  ## speed beside TRL and others, in an own environment (1 hour)
	$(PY) -m benchmarks.peers --steps 2 $(ARGS)
	$(PY) -m benchmarks.reward
	$(PY) -m pytest -m real tests/reward/encoders/test_modules.py

.venv-peers/.installed: benchmarks/requirements-peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet $(PIP_ARGS) -r benchmarks/requirements-peers.txt
	@touch $@

bench-metrics: $(DONE) .venv-metrics/.installed  ## scores of learned metrics beside those of the reference packages
	$(PY) -m benchmarks.metrics $(ARGS)
	$(PY) -m benchmarks.metric_cost

.venv-metrics/.installed: benchmarks/requirements-metrics.txt
	test -x .venv-metrics/bin/python || $(PYTHON) -m venv .venv-metrics
	.venv-metrics/bin/python -m pip install --quiet $(PIP_ARGS) -r benchmarks/requirements-metrics.txt
	@touch $@

test: $(DONE)  ## the test suite without the slow tests, a file at a time in each of two processes
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

test-slow: $(DONE)  ## the slow tests: the default model on the default corpus
	$(PY) -m pytest -m slow $(ARGS)

coverage: $(DONE)  ## the test suite, and which lines of grpo/ and reward/ it runs
	$(PY) -m coverage run --source=grpo,reward -m pytest -m "not slow" $(ARGS)
	$(PY) -m coverage report --skip-covered -m

docs: $(DONE) .venv/.docs  ## build the site of the documentation into docs/_site, without the network
	$(PY) -m sphinx -q -W --keep-going -c docs/site -d docs/_site/.doctrees . docs/_site
	@echo "open docs/_site/README.html"

.venv/.docs: setup.cfg | $(DONE)
	$(PY) -m pip install --quiet --no-build-isolation $(PIP_ARGS) -e .[docs]
	@touch $@

lint: $(DONE)  ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:  ## remove the environments and tool caches; keeps .cache (downloads, models) and runs
	rm -rf .venv .venv-peers .venv-metrics .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
