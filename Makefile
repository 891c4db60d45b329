# Targets users rely on: demo, test, check, golden, bench (see CONTRIBUTING.md).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=
CASES ?= ../shared/cases/policy
SEEDS ?= 1 2 3 4 5 6 7 8 9 10
REQUESTS ?= 2000

# `pylis demo` answers 1 when an expectation does not hold, but make answers 2 for whatever fails. In question mode (-q)
# it answers 1 for a goal that is not up to date, and recipe lines with a + still run: so `make demo` says 1 as well, and
# `make demo-docker`.
ifneq ($(filter <demo> <demo-docker>,<$(MAKECMDGOALS)$(findstring n,$(firstword -$(MAKEFLAGS)))>),)
MAKEFLAGS += -q
RUN := +
endif

.PHONY: docker-images storm churn test-rotation fuzz-api conformance fuzz venv dev demo demo-run demo-docker test-docker test-vm bench-docker test test-peers check golden schema bench bench-scale soak clean test-envoy-cases test-envoy-random

venv: $(VENV)/.users

dev: $(VENV)/.developers

# what is said while installing goes to stderr: stdout is the command's answer
$(VENV)/bin/python:
	$(RUN)@$(PYTHON) -m venv $(VENV)

$(VENV)/.users: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(RUN)@echo "installing Pylis and what it needs into $(VENV) (about 20 s, once)" >&2
	$(RUN)@$(INSTALL) --require-hashes -r requirements.lock >&2
	$(RUN)@$(INSTALL) --no-deps --no-build-isolation -e . >&2
	$(RUN)@touch $@

$(VENV)/.developers: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the developers' packages into $(VENV) (about 30 s, once)" >&2
	@$(INSTALL) --require-hashes -r requirements-dev.lock >&2
	@$(INSTALL) --no-deps --no-build-isolation -e . >&2
	@touch $@ $(VENV)/.users

FAILED := $(VENV)/.demo-failed
WHERE :=

demo-run: venv
	$(RUN)@rm -f $(FAILED); env -u MAKEFLAGS -u MFLAGS $(BIN)/pylis demo $(WHERE) $(ARGS) || { code=$$?; [ $$code = 1 ] && touch $(FAILED) || exit $$code; }

demo-docker: WHERE := --containers
demo demo-docker: demo-run
	$(if $(wildcard $(FAILED)),@exit 1)

# a process for each core, a file's tests in one of them
test: dev
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

# the shared PolicyTests, replayed through a real Envoy
test-envoy-cases: dev
	@bench/own_network.sh $(BIN)/python -m bench.envoy_cases $(CASES)/*.json

# random policies and requests: the evaluator against a real Envoy and against a walk of the compiled tree
test-envoy-random: dev
	@bench/own_network.sh $(BIN)/python -m bench.envoy_random --requests $(REQUESTS) $(SEEDS)

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/basedpyright
	$(BIN)/python -m pytest tests/unit tests/golden -q

DOCKER_TESTS ?= tests/docker tests/integration/identity/test_containers.py

docker-images:
	@docker build -q -t pylis:latest --target pylis . >/dev/null
	@docker build -q -t pylis-agent:latest --target agent . >/dev/null

# a real engine, root; docker-compose 1.29 (where it is) and Compose v2 (in a container where it is not)
test-docker: dev docker-images
	@PYLIS_TEST_DOCKER=1 $(BIN)/python -m pytest $(DOCKER_TESTS) -p no:randomly $(ARGS)

# machines of namespaces, each with a systemd of its own: root, systemd, nftables and iproute2
test-vm: dev
	@for program in unshare nsenter ip nft systemctl; do command -v $$program >/dev/null || { \
	echo "make test-vm needs $$program (Debian: apt-get install systemd nftables iproute2)" >&2; exit 1; }; done
	@PYLIS_TEST_VM=1 unshare --net --pid --fork --mount-proc --kill-child sh -c 'ip link set lo up && exec "$$@"' sh \
	$(BIN)/python -m pytest tests/vm -p no:randomly $(ARGS)

bench-docker: dev docker-images
	@$(BIN)/python -m bench.docker

# what other SPIFFE implementations make of us; what could not be tried is named in the last lines
test-peers: dev
	@PYLIS_PEERS=1 $(BIN)/python -m pytest tests/peers -q $(ARGS); code=$$?; \
	command -v go >/dev/null || echo "peers: go-spiffe was NOT tried: there is no Go on PATH"; exit $$code

golden: dev
	$(BIN)/python -m pytest tests/golden -q --golden-rewrite

fuzz: dev
	@PYTHONPATH=. $(BIN)/python tests/fuzz/parsers.py --minutes $(or $(MINUTES),1)

test-rotation: dev
	@PYLIS_ROTATION_SECONDS=$(or $(SECONDS),60) $(BIN)/python -m pytest tests/e2e/test_rotation_under_load.py -q -rP -p no:randomly; code=$$?; \
	command -v wrk >/dev/null || echo "rotation: wrk was NOT run: it is not on PATH (Debian: apt-get install wrk)"; exit $$code

conformance: dev
	$(BIN)/python tests/spiffe/report.py

schema: dev
	$(BIN)/python -m xds.schema.derive

fuzz-api: dev .venv-fuzz/.done
	@$(BIN)/python -m tests.fuzz.api $(ARGS)

.venv-fuzz/.done: requirements-fuzz.lock
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@touch $@

# every part is run, whatever becomes of the others
BENCHES := quick issuance identity_transport identity cut_off "api --quick"

bench: dev
	@failed=0; for part in $(BENCHES); do $(BIN)/python -m bench.$$part || failed=1; done; exit $$failed

bench-scale: dev
	@$(BIN)/python -m bench.xds $(ARGS)

# wrk (where installed) through two Envoys while policies, endpoints and the control plane change: no wrong answer
churn: dev
	@$(BIN)/python -m bench.churn $(ARGS)

# 500 edits a second, herds, reconnects: how long the others wait, and what memory does
storm: dev
	@$(BIN)/python -m bench.storm --seconds $(or $(SECONDS),60) $(ARGS)

soak: dev
	@$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),10) $(ARGS)

clean:
	rm -rf $(VENV) .venv-fuzz .pylis build dist *.egg-info
