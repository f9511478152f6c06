# Tapewatch. `make run` needs Python 3.11 to 3.13 on Linux or macOS and nothing else.
#
#   make install   .venv from the lock files; .venv/bin/tapewatch is the command line
#   make run       install, then `tapewatch up`; ARGS="--speed 60 --symbols 500" is passed on
#   make test      install, then lint, types, unit and integration tests, on WORKERS=2 processes but what runs alone
#   make bench     install, then every benchmark, as JSON lines
#   make e2e       the chart on the cluster in KUBECONFIG; ARGS='--build "docker build -t {tag} ."' makes the image
#   make lock      compile the lock files anew (needs uv)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
# a lock names every package, so there is nothing to resolve: --no-deps saves pip the work
LOCKED := $(PIP) --require-hashes --no-deps --only-binary :all: --no-compile
# pip compiles bytecode on one core, this on all; files that are no Python of this version are of no matter
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
COMPILE_LOCK := uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11
ARGS ?=
WORKERS ?= 2

.PHONY: install run test bench e2e lock
.DELETE_ON_ERROR:

install: $(VENV)/.installed

run: install
	@$(BIN)/tapewatch up $(ARGS)

# the second run reads the modules that the first compiled, whatever is set outside
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m "not integration and not bench and not cluster"
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m "integration and not alone"
	$(BIN)/pytest -q -m alone

bench: install
	@$(BIN)/tapewatch bench all --json $(ARGS)

e2e: $(VENV)/.installed-dev
	@PATH="$(BIN):$$PATH" $(BIN)/python -m k8s.e2e $(ARGS)

lock:
	echo 'setuptools>=80' | $(COMPILE_LOCK) - -o requirements-build.lock
	$(COMPILE_LOCK) pyproject.toml -o requirements.lock
	$(COMPILE_LOCK) --extra dev --extra train --extra s3 -c requirements.lock pyproject.toml -o requirements-dev.lock

# A python that answers, of a version we take and with venv; shims of version managers may exist and not run.
$(BIN)/python:
	@case "$$(uname -s)" in Linux|Darwin) ;; *) \
	  echo "error: expected Linux or macOS, was $$(uname -s) (Windows: use WSL 2)" >&2; exit 1;; esac
	@for python in python3.13 python3.12 python3.11 python3 python; do \
	  if $$python -c 'import ensurepip, venv, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    > /dev/null 2>&1; then \
	    echo "Making $(VENV) with $$($$python --version)"; exec $$python -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "error: expected Python 3.11 to 3.13 with its venv module on PATH, was:" \
	  "$$(python3 --version 2>&1 || true) (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1

$(VENV)/.installed: requirements-build.lock requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the packages of requirements.lock (some minutes the first time)"
	@$(LOCKED) -r requirements-build.lock -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@echo "Compiling the numeric kernels (half a minute the first time)"
	@$(BIN)/tapewatch warm
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "Installing the packages of requirements-dev.lock"
	@$(LOCKED) -r requirements-dev.lock
	@$(COMPILE)
	@touch $@
