# The doors for people and machines. Each target makes what it needs first; `make help` lists them.

PYTHON = .venv/bin/python
ARGS =

.DEFAULT_GOAL := help
.PHONY: help run demo test test-long check golden bench soak interop pgbouncer lock clean environment

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^##: / { printf "  %s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

##@ Run
run: environment ## everything on this machine, until Ctrl-C: servers, sign-in, API, keeper
	@.venv/bin/timewarden up $(ARGS)

demo: environment ## play the whole story over HTTP and print it
	@.venv/bin/timewarden demo $(ARGS)

##@ Test
test: check ## check, then every test, three files at a time (ARGS="-k approve" narrows them)
	@$(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: environment ## the laws with ten times the examples, then soak, interop and pgbouncer, all in short (20 minutes)
	@sh .ci/long

check: environment ## format, lint, types, imports, commit messages; prints the import graph by room
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports
	@sh .ci/commits
	@$(PYTHON) -m tests.house_report

bench: environment ## figures beside peers: all benchmarks, or one (ARGS=engine)
	@sh .ci/bench $(ARGS)

soak: environment ## an hour of traffic while every part is killed, and a verdict over the log (ARGS="--minutes 5")
	@$(PYTHON) -m tests.soak $(ARGS)

interop: environment ## our verifier against an authorization server that we did not write (needs Node.js)
	@sh .ci/interop $(ARGS)

pgbouncer: environment ## the service behind a real PgBouncer, in session and in transaction pooling
	@sh .ci/pgbouncer $(ARGS)

lock: environment ## write the lock files anew from pyproject.toml
	@sh .ci/lock $(ARGS)

golden: environment ## rewrite the golden files: schema, OpenAPI, events, problems; read the diff
	@$(PYTHON) -m tests.golden

##@ Policy (while `make run` runs)
##: .venv/bin/timewarden policy propose -m WHY    put the rules of policies/ forward as a new version
##: .venv/bin/timewarden policy activate latest   let it decide, from the next request on

##@ Data
clean: ## stop what runs from here; remove .venv, .local with ALL ITS DATA, and caches
	@if [ -d .local ] && python=$$(sh .ci/python); then "$$python" -m service.development.local_servers stop .local; fi
	@rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"

environment:
	@sh .ci/install
