# Password Server. `make` or `make help` says what there is.
PYTHON ?= python3
VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest
SIDE_BY_SIDE := -n 2 --dist loadgroup --no-loadscope-reorder
SLOW := not engine and not sshd and not browser and not sweep and not directory and not postgres

.DEFAULT_GOAL := help
.PHONY: help demo run test prove test-quick lint develop lock clean sweep leaks scripts facts shots story bench packages

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PWSERVER_PORT=8081 make demo    another port; the README names every setting"

demo: ## everything with a simulated network and demo data, in instance-demo; Ctrl-C ends it
	@exec $(PYTHON) app.py --demo

run: ## everything without demo data, in instance
	@exec $(PYTHON) app.py

test: packages develop ## lint and every test (as root it installs what the tests need)
	@PWSERVER_TEST_LINT=1 $(PYTEST) $(SIDE_BY_SIDE) -rs

prove: packages develop ## every test at full depth, every old fault put back, second opinions; PART=… runs one of them
	@.ci/packages prove
	@$(VENV)/python -m tests.prove $(PART)

test-quick: develop ## the tests that start no server, engine or browser, for the inner loop
	@$(PYTEST) $(SIDE_BY_SIDE) -m "$(SLOW)"

lint: develop ## import-linter, ruff, mypy, djlint
	@$(VENV)/lint-imports --no-logo
	@$(VENV)/ruff check .
	@$(VENV)/mypy
	@$(VENV)/djlint templates --lint --quiet

sweep: develop ## a death at every boundary of a run, then kill -9 of every process; prints one JSON object
	@$(VENV)/python -m tests.jobs.sweep

leaks: develop ## secrets travel everything, and are looked for everywhere; prints one JSON object
	@$(VENV)/python -m tests.e2e.leaks

scripts: develop ## every script in a PowerShell engine (PWSERVER_LAB_POWERSHELL or pwsh); prints one JSON object
	@$(VENV)/python -m tests.scripts.report

facts: develop ## the facts about Windows that the code rests on, and what each stands on; prints one JSON object
	@$(VENV)/python -m tests.facts

story: develop ## the whole story in Chromium, from signing in to a stale service; prints one JSON object
	@$(VENV)/python -m tests.story

shots: develop ## every page, wide and narrow, light and dark, into build/shots; axe looks at each
	@PWSERVER_TEST_DEPTH=full $(PYTEST) tests/web/test_every_page.py

bench: develop ## how long things take, beside what they must take (bench/README.md); prints one JSON object
	@$(VENV)/python -m bench

packages: # before the environment: what is built in it needs some of them
	@.ci/packages

develop: # the environment with what tests and checks need
	@$(PYTHON) app.py --prepare-develop

lock: develop ## pins all dependencies with hashes, after requirements*.in changed
	@for name in requirements requirements-dev requirements-kerberos; do \
	  $(VENV)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
	    $$name.in -o $$name.txt; done
	@$(VENV)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-deps \
	  requirements-assets.in -o requirements-assets.txt

clean: ## what was built or cached; instances with their data stay
	@rm -rf build static/build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache test-results
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
